
/*
 * Backoff: how long to wait before a retry.
 *
 *   exponential   v = min(max, base * factor^(n - 1))
 *   linear        v = min(max, base * n)
 *   constant      v = min(max, base)
 *
 *   none          v
 *   full          U(0, v)
 *   equal         v/2 + U(0, v/2)
 *   decorrelated  min(max, U(base, 3 * previous)), previous = base at first
 *   spread        v * U(1 - p, 1 + p), not above max
 *
 * Source of full, equal and decorrelated: M. Brooker, "Exponential Backoff
 * And Jitter", AWS Architecture Blog, 2015.
 */


#ifndef RES_BACKOFF_H_INCLUDED
#define RES_BACKOFF_H_INCLUDED


#include <stdint.h>


typedef enum {
    RES_BACKOFF_EXPONENTIAL = 0,
    RES_BACKOFF_LINEAR,
    RES_BACKOFF_CONSTANT
} res_backoff_strategy_e;

typedef enum {
    RES_JITTER_FULL = 0,
    RES_JITTER_NONE,
    RES_JITTER_EQUAL,
    RES_JITTER_DECORRELATED,
    RES_JITTER_SPREAD
} res_jitter_e;


typedef struct {
    res_backoff_strategy_e  strategy;
    res_jitter_e            jitter;
    uint32_t                base;       /* ms */
    uint32_t                max;        /* ms, 0: no bound */
    uint32_t                factor;     /* thousandths, >= 1000 */
    uint32_t                spread;     /* percent, 0..100, RES_JITTER_SPREAD */
} res_backoff_t;


/*
 * The wait in ms before retry n (from 1); previous: the last wait, 0 at the
 * first retry; random: 32 uniform bits.  Saturates, never overflows.
 */
uint32_t res_backoff_delay(const res_backoff_t *b, uint32_t n,
    uint32_t previous, uint32_t random);


#endif /* RES_BACKOFF_H_INCLUDED */
