
/*
 * The circuit breaker of one (tenant, provider): closed, open, half-open.
 *
 * Plain memory and no lock: the caller holds the lock of whatever the struct
 * lives in, and passes the time.  Every change of state starts a new
 * generation; a permit carries the generation it was given in, and an outcome
 * of another generation is dropped.  A half-open permit is a lease: when its
 * holder vanishes, it comes back by expiry.
 */


#ifndef RES_BREAKER_H_INCLUDED
#define RES_BREAKER_H_INCLUDED


#include <stdint.h>


#define RES_BREAKER_WINDOW  256     /* outcomes a window may hold at most */
#define RES_BREAKER_PROBES  16      /* half-open permits at most */


typedef enum {
    RES_CLOSED = 0,
    RES_OPEN,
    RES_HALF_OPEN
} res_breaker_state_e;

typedef enum {
    RES_REASON_NONE = 0,
    RES_REASON_FAILURES,            /* consecutive failures */
    RES_REASON_ERROR_RATE,
    RES_REASON_PROBE_FAILED,
    RES_REASON_PROBES_SUCCEEDED,
    RES_REASON_OPEN_ELAPSED
} res_breaker_reason_e;

typedef enum {
    RES_ADMIT_YES = 0,
    RES_ADMIT_OPEN,                 /* refused: the breaker is open */
    RES_ADMIT_NO_PERMIT             /* refused: half-open, no permit free */
} res_admit_e;

typedef enum {
    RES_RESULT_SUCCESS = 0,
    RES_RESULT_FAILURE,
    RES_RESULT_NEUTRAL              /* gives the permit back, moves nothing */
} res_result_e;


typedef struct {
    uint32_t              failures;    /* consecutive ones that open it;
                                          0: not looked at */
    uint32_t              error_rate;  /* percent, 1..100; 0: not looked at */
    uint32_t              window;      /* outcomes, 1..RES_BREAKER_WINDOW */
    uint32_t              min_calls;   /* 1..window */
    uint32_t              open;        /* ms */
    uint32_t              open_max;    /* ms, >= open */
    uint32_t              probes;      /* permits at a time,
                                          1..RES_BREAKER_PROBES */
    uint32_t              successes;   /* probes that close it, 1..255 */
    unsigned              off:1;       /* admits all, moves nothing */
} res_breaker_conf_t;


typedef struct {
    uint64_t              until;       /* open: ms at which it may half-open */
    uint64_t              since;       /* ms the state was entered at */

    uint64_t              total_successes;
    uint64_t              total_failures;
    uint64_t              rejected;
    uint32_t              opened;
    uint32_t              closed;

    uint32_t              generation;
    uint32_t              consecutive; /* failures in a row */

    uint64_t              failed[RES_BREAKER_WINDOW / 64];
    uint16_t              window;      /* size the ring was filled with */
    uint16_t              head;        /* where the next outcome goes */
    uint16_t              seen;        /* outcomes in the ring */

    uint8_t               state;       /* res_breaker_state_e */
    uint8_t               reopened;    /* openings since the last close */
    uint8_t               succeeded;   /* good probes of this half-open */

    uint32_t              leases[RES_BREAKER_PROBES];
                                       /* half-open: end of each permit, ms
                                          after since, never 0; 0: free;
                                          after weeks since moves on, as a
                                          new generation */
} res_breaker_t;


typedef struct {
    uint32_t              generation;
    uint32_t              lease;       /* the leases[] entry as given */
    int16_t               slot;        /* of leases[], -1: none (closed) */
} res_permit_t;


typedef struct {
    uint8_t               changed;     /* 1: the fields below are set */
    uint8_t               from;        /* res_breaker_state_e */
    uint8_t               to;
    uint8_t               reason;      /* res_breaker_reason_e */
} res_transition_t;


/* An all-zero breaker is closed and ready; this also sets its since. */
void res_breaker_init(res_breaker_t *b, uint64_t now);

/*
 * May an attempt start?  lease: ms after which a half-open permit comes back
 * by itself, at least 1.  On RES_ADMIT_YES fills the permit, which goes back
 * with res_breaker_record() exactly once; on a refusal counts a rejection.
 * now in ms, monotonic over all processes; a step back is taken for none.
 * t tells of the change of state this call made, if any.
 */
res_admit_e res_breaker_admit(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, uint64_t lease, res_permit_t *permit, res_transition_t *t);

/*
 * How an admitted attempt ended.  first: this is the first failure of its
 * call; a later one enters the window, but not the consecutive count.
 * random: 32 uniform bits, for up to 10 % of positive jitter on the open
 * time.  Returns 1, or 0 when the permit was of another generation or had
 * expired and the outcome was dropped.
 */
int res_breaker_record(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_permit_t *permit, res_result_e result, int first,
    uint32_t random, res_transition_t *t);

/*
 * The state as it is now: an open breaker whose time is over still says open,
 * it turns half-open with the next admission.
 */
const char *res_breaker_state_name(unsigned state);
const char *res_breaker_reason_name(unsigned reason);

/* ms until an attempt might be admitted; 0: now. */
uint64_t res_breaker_wait(const res_breaker_t *b,
    const res_breaker_conf_t *conf, uint64_t now);

/* Failures in the window, of seen outcomes. */
uint32_t res_breaker_failed(const res_breaker_t *b);

/*
 * 1: forgetting the breaker loses nothing that refuses or is about to refuse
 * an attempt (it is closed).
 */
int res_breaker_idle(const res_breaker_t *b);


#endif /* RES_BREAKER_H_INCLUDED */
