
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
#define RES_BREAKER_STATES  3       /* of res_breaker_state_e */


typedef enum {
    RES_CLOSED = 0,
    RES_OPEN,
    RES_HALF_OPEN
} res_breaker_state_e;

typedef enum {
    RES_REASON_NONE = 0,
    RES_REASON_FAILURES,            /* consecutive failures */
    RES_REASON_ERROR_RATE,
    RES_REASON_SLOW_RATE,
    RES_REASON_TENANTS,             /* so many of them failed */
    RES_REASON_PROBE_FAILED,
    RES_REASON_PROBES_SUCCEEDED,
    RES_REASON_OPEN_ELAPSED,
    RES_REASON_ADMIN
} res_breaker_reason_e;

/* what an administrator has said; it holds until RES_FORCED_NONE is said */

typedef enum {
    RES_FORCED_NONE = 0,
    RES_FORCED_OPEN,                /* refuses all */
    RES_FORCED_CLOSED,              /* admits all, counts, never opens */
    RES_FORCED_DISABLED             /* admits all, counts nothing */
} res_forced_e;

typedef enum {
    RES_ADMIT_YES = 0,
    RES_ADMIT_OPEN,                 /* refused: the breaker is open */
    RES_ADMIT_RESTING,              /* refused: the provider asked to be left
                                       alone until a time that is to come */
    RES_ADMIT_NO_PERMIT             /* refused: half-open and no permit is
                                       free, or closed not long ago */
} res_admit_e;

typedef enum {
    RES_RESULT_SUCCESS = 0,
    RES_RESULT_FAILURE,
    RES_RESULT_NEUTRAL,             /* gives the permit back, moves nothing */
    RES_RESULT_REFUSED              /* the same, but a probe has failed: the
                                       provider asks to be spared (429) */
} res_result_e;


typedef struct {
    uint32_t              failures;    /* consecutive ones that open it;
                                          0: not looked at */
    uint32_t              error_rate;  /* percent, 1..100; 0: not looked at */
    uint32_t              slow_rate;   /* the same, of slow attempts */
    uint32_t              window;      /* outcomes, 1..RES_BREAKER_WINDOW */
    uint32_t              min_calls;   /* 1..window */
    uint32_t              open;        /* ms */
    uint32_t              open_max;    /* ms, >= open */
    uint32_t              probes;      /* permits at a time,
                                          1..RES_BREAKER_PROBES */
    uint32_t              successes;   /* probes that close it, 1..255 */
    uint32_t              ramp;        /* ms after closing over which the
                                          share of the admitted rises from
                                          10 to 100 %; 0: all at once */
    unsigned              off:1;       /* admits all, moves nothing */
} res_breaker_conf_t;


typedef struct {
    uint64_t              until;       /* open: ms at which it may half-open */
    uint64_t              since;       /* ms the state was entered at */
    uint64_t              rest;        /* no attempt before, see rest */

    uint64_t              total_successes;
    uint64_t              total_failures;
    uint64_t              rejected;
    uint32_t              opened;
    uint32_t              closed;

    uint32_t              generation;
    uint32_t              consecutive; /* failures in a row */

    uint64_t              failed[RES_BREAKER_WINDOW / 64];
    uint64_t              slow[RES_BREAKER_WINDOW / 64];
    uint32_t              samples;     /* outcomes that ever entered it */
    uint16_t              window;      /* size the ring was filled with */
    uint16_t              head;        /* where the next outcome goes */
    uint16_t              seen;        /* outcomes in the ring */

    uint8_t               state;       /* res_breaker_state_e */
    uint8_t               reopened;    /* openings since the last close */
    uint8_t               succeeded;   /* good probes of this half-open */
    uint8_t               forced;      /* res_forced_e */
    uint8_t               ramping;     /* closed by its probes */

    uint32_t              leases[RES_BREAKER_PROBES];
                                       /* half-open: end of each permit, ms
                                          after since, never 0; 0: free;
                                          after weeks since moves on, as a
                                          new generation */
} res_breaker_t;


typedef struct {
    uint32_t              generation;
    uint32_t              lease;       /* the leases[] entry as given */
    uint32_t              sample;      /* of the window, see slow */
    int16_t               slot;        /* of leases[], -1: none (closed) */
    uint8_t               slow;        /* is in the window as slow */
    uint8_t               judged;      /* its success was recorded */
} res_permit_t;


/* how an attempt ended */

typedef struct {
    res_result_e          result;
    int                   first;       /* a failure: the first of its call; a
                                          later one enters the window, but
                                          not the consecutive count */
    uint32_t              hint;        /* ms the provider asked to wait, a
                                          breaker that opens now is open for
                                          so long at least; 0: nothing */
    uint32_t              random;      /* 32 uniform bits, for up to 10 % of
                                          positive jitter on the open time */
} res_report_t;


typedef struct {
    uint8_t               changed;     /* 1: the fields below are set */
    uint8_t               from;        /* res_breaker_state_e */
    uint8_t               to;
    uint8_t               reason;      /* res_breaker_reason_e */
    uint64_t              open;        /* from open: ms that it had refused
                                          for, of its time; or 0 */
} res_transition_t;


/* An all-zero breaker is closed and ready; this also sets its since. */
void res_breaker_init(res_breaker_t *b, uint64_t now);

/*
 * May an attempt start?  lease: ms after which a half-open permit comes back
 * by itself, at least 1; random: 32 uniform bits, for the ramp.  On
 * RES_ADMIT_YES fills the permit, which goes back with res_breaker_record()
 * exactly once; on a refusal counts a rejection.  now in ms, monotonic over
 * all processes; a step back is taken for none.  t tells of the change of
 * state this call made, if any.
 */
res_admit_e res_breaker_admit(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, uint64_t lease, uint32_t random, res_permit_t *permit,
    res_transition_t *t);

/*
 * An admitted attempt has ended.  Returns 1, or 0 when the permit was of
 * another generation or had expired and the outcome was dropped.
 */
int res_breaker_record(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_permit_t *permit, const res_report_t *report,
    res_transition_t *t);

/*
 * An admitted attempt, still running, has become a slow one: the window is
 * told at once, for one that hangs would be seen too late otherwise.  Its end
 * is recorded as ever and is not counted twice there.  Of report only hint
 * and random are looked at.
 */
void res_breaker_slow(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, res_permit_t *permit, const res_report_t *report,
    res_transition_t *t);

/* Opens a closed breaker for a reason of the caller's. */
void res_breaker_trip(res_breaker_t *b, const res_breaker_conf_t *conf,
    uint64_t now, const res_report_t *report, res_breaker_reason_e reason,
    res_transition_t *t);

/*
 * The provider asked for no attempt within so many ms (429 with a hint): it
 * gets none, and that is no failure.  A shorter wait than one that was asked
 * for before changes nothing.
 */
void res_breaker_rest(res_breaker_t *b, uint64_t now, uint32_t hint);

/*
 * What an administrator says.  Leaving a forced state, as by
 * res_breaker_reset(), closes the breaker and forgets what it has seen but
 * for its totals.
 */
void res_breaker_force(res_breaker_t *b, res_forced_e forced, uint64_t now,
    res_transition_t *t);
void res_breaker_reset(res_breaker_t *b, uint64_t now, res_transition_t *t);

/*
 * The state as it is now, as it is shown: what is forced open is open; an open
 * breaker whose time is over still says open, it turns half-open with the next
 * admission.
 */
res_breaker_state_e res_breaker_shown(const res_breaker_t *b);

const char *res_breaker_state_name(unsigned state);
const char *res_breaker_reason_name(unsigned reason);
const char *res_breaker_forced_name(unsigned forced);

/*
 * ms until an attempt might be admitted; 0: now.  Of one that is forced open
 * no one knows; it says what a first opening takes.
 */
uint64_t res_breaker_wait(const res_breaker_t *b,
    const res_breaker_conf_t *conf, uint64_t now);

/* Failures, and slow ones, in the window, of seen outcomes. */
uint32_t res_breaker_failed(const res_breaker_t *b);
uint32_t res_breaker_slowed(const res_breaker_t *b);

/*
 * 1: forgetting the breaker loses nothing that refuses or is about to refuse
 * an attempt (it is closed), and nothing that an administrator has said.
 */
int res_breaker_idle(const res_breaker_t *b);


#endif /* RES_BREAKER_H_INCLUDED */
