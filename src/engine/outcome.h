
/*
 * Outcome classes: what one attempt, or one call, came to.
 *
 * The names are a contract: they stand in the configuration, in the trace
 * variable, in the status and in the metrics.
 */


#ifndef RES_OUTCOME_H_INCLUDED
#define RES_OUTCOME_H_INCLUDED


#include <stddef.h>
#include <stdint.h>


typedef enum {
    RES_SUCCESS = 0,
    RES_CONNECT,             /* refused, reset before bytes, DNS, TLS */
    RES_TIMEOUT,             /* connect, first byte, idle, attempt, total */
    RES_RATE_LIMITED,        /* 429: pace */
    RES_QUOTA,               /* 429, 402: money */
    RES_AUTH,                /* 401, 403 of our key */
    RES_OVERLOADED,          /* 503, 529 */
    RES_SERVER_ERROR,        /* other 5xx */
    RES_STREAM_DROPPED,      /* ended without its terminal mark */
    RES_INVALID_RESPONSE,    /* 200, yet empty, unparsable or an error */
    RES_NOT_FOUND,           /* model or deployment */
    RES_CONTEXT_LENGTH,
    RES_CONTENT_POLICY,
    RES_CLIENT_ERROR,        /* other 4xx */
    RES_CLIENT_ABORT,
    RES_CANCELLED,
    RES_BREAKER_OPEN,
    RES_NO_PERMIT,
    RES_NO_KEY,
    RES_LIMITED,
    RES_SHUTDOWN,            /* this process ends */
    RES_STALE,               /* an earlier answer, from a cache */
    RES_OUTCOMES             /* how many there are */
} res_outcome_e;


#define res_bit(outcome)  ((uint32_t) 1 << (outcome))

/* outcome sets that any preset starts from; see the policy directives */

#define RES_RETRY_ON                                                          \
    (res_bit(RES_CONNECT) | res_bit(RES_OVERLOADED)                           \
     | res_bit(RES_SERVER_ERROR) | res_bit(RES_RATE_LIMITED))

#define RES_FAIL_ON                                                           \
    (res_bit(RES_CONNECT) | res_bit(RES_TIMEOUT) | res_bit(RES_OVERLOADED)    \
     | res_bit(RES_SERVER_ERROR) | res_bit(RES_STREAM_DROPPED)                \
     | res_bit(RES_INVALID_RESPONSE))

#define RES_FALLBACK_ON                                                       \
    (((uint32_t) 1 << RES_OUTCOMES) - 1                                       \
     - res_bit(RES_SUCCESS) - res_bit(RES_CLIENT_ERROR)                       \
     - res_bit(RES_CONTEXT_LENGTH) - res_bit(RES_CONTENT_POLICY)              \
     - res_bit(RES_CLIENT_ABORT) - res_bit(RES_SHUTDOWN)                      \
     - res_bit(RES_STALE))

/* an attempt that was not let start: the call moves on, whatever it may */

#define RES_REFUSED                                                           \
    (res_bit(RES_BREAKER_OPEN) | res_bit(RES_NO_PERMIT)                       \
     | res_bit(RES_NO_KEY) | res_bit(RES_LIMITED))

/*
 * Failures that an earlier answer may make up for: none that speaks of the
 * request, or of who may make it.
 */

#define RES_STALE_AFTER                                                       \
    (RES_FAIL_ON | RES_REFUSED | res_bit(RES_RATE_LIMITED))

/* failures that speak of the provider: not of a key, a quota or a request */

#define RES_PROVIDER_FAILED  RES_FAIL_ON

/*
 * Answers after which the request is known not to have been processed, so
 * that even a POST may be sent again (RFC 9110, 9.2.2: "known by design").
 */

#define RES_UNPROCESSED                                                       \
    (res_bit(RES_RATE_LIMITED) | res_bit(RES_QUOTA) | res_bit(RES_AUTH)       \
     | res_bit(RES_OVERLOADED) | res_bit(RES_NOT_FOUND)                       \
     | res_bit(RES_BREAKER_OPEN) | res_bit(RES_NO_PERMIT)                     \
     | res_bit(RES_NO_KEY) | res_bit(RES_LIMITED))


/* The contract's name of an outcome, e.g. "server_error"; never NULL. */
const char *res_outcome_name(res_outcome_e outcome);

/* The outcome of that name, or -1. */
int res_outcome_parse(const char *name, size_t len);

/*
 * The class of an HTTP status alone, 100..599.  own_key: the provider is
 * called with a credential of its own, so that 401 and 403 speak of that one
 * and not of the client's.
 */
res_outcome_e res_outcome_status(unsigned status, int own_key);

/*
 * The class of a gRPC status code, as in the "grpc-status" header or trailer;
 * unknown ones above 16 are the server's fault.  own_key: as above.
 */
res_outcome_e res_outcome_grpc(unsigned code, int own_key);


#endif /* RES_OUTCOME_H_INCLUDED */
