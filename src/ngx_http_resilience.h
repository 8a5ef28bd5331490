
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#ifndef NGX_HTTP_RESILIENCE_H_INCLUDED
#define NGX_HTTP_RESILIENCE_H_INCLUDED


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "engine/aimd.h"
#include "engine/backoff.h"
#include "engine/breaker.h"
#include "engine/budget.h"
#include "engine/ewma.h"
#include "engine/hint.h"
#include "engine/histogram.h"
#include "engine/outcome.h"
#include "engine/quorum.h"
#include "engine/rest.h"
#include "engine/table.h"
#include "llm/dialect.h"
#include "llm/json.h"
#include "llm/json_string.h"
#include "llm/keys.h"
#include "llm/sse.h"
#include "llm/usage.h"


/* header lists became linked in 1.23.0 */

#if (nginx_version >= 1023000)
#define ngx_http_resilience_unlink(h)  (h)->next = NULL
#else
#define ngx_http_resilience_unlink(h)
#endif


/* 32 random bits; ngx_random() has 31 */

#define ngx_http_resilience_random()                                          \
    ((uint32_t) ngx_random() << 16 ^ (uint32_t) ngx_random())


#define NGX_HTTP_RESILIENCE_NAME       64    /* bytes of a provider's name */
#define NGX_HTTP_RESILIENCE_PROVIDERS  RES_TABLE_PROVIDERS
                                             /* a zone knows at most */
#define NGX_HTTP_RESILIENCE_CHAINS     512   /* the same, with those that are
                                                one provider each */

#define NGX_HTTP_RESILIENCE_MODEL      256   /* bytes of a model's name */

#define NGX_HTTP_RESILIENCE_UPSTREAM  "resilience_"

#define NGX_HTTP_RESILIENCE_TAU        10000 /* ms, of the average latency */


typedef struct ngx_http_resilience_call_s      ngx_http_resilience_call_t;
typedef struct ngx_http_resilience_attempt_s   ngx_http_resilience_attempt_t;
typedef struct ngx_http_resilience_limits_s    ngx_http_resilience_limits_t;
typedef struct ngx_http_resilience_asked_s     ngx_http_resilience_asked_t;
typedef struct ngx_http_resilience_strip_s     ngx_http_resilience_strip_t;


/* where a name was used in the configuration, for messages at its end */

typedef struct {
    u_char                          *file;
    ngx_uint_t                       line;
} ngx_http_resilience_place_t;


typedef struct {
    ngx_str_t                        name;

    ngx_msec_t                       connect;       /* 0: off, as all five */
    ngx_msec_t                       first_byte;
    ngx_msec_t                       idle;
    ngx_msec_t                       attempt;
    ngx_msec_t                       total;

    ngx_uint_t                       retries;
    res_backoff_t                    backoff;

    uint32_t                         retry_on;      /* bits of outcomes */
    uint32_t                         fallback_on;
    uint32_t                         fail_on;

    ngx_flag_t                       non_idempotent;

    ngx_msec_t                       hint_max;      /* retry_after max= */
    ngx_uint_t                       hints;         /* retry_after on */
    ngx_msec_t                       stop_before;
    ngx_str_t                        deadline_header;  /* lower case */

    res_budget_conf_t                budget;
    ngx_uint_t                       budgeted;

    ngx_msec_t                       hedge_after;   /* 0: no hedging */
    ngx_uint_t                       hedge_p95;     /* or by the latencies */
    ngx_uint_t                       hedge_max;

    ngx_uint_t                       concurrency;   /* 0: no limit */
    ngx_uint_t                       adaptive;
    res_aimd_conf_t                  aimd;

    res_breaker_conf_t               breaker;
    ngx_msec_t                       slow;          /* breaker_slow over= */

    res_breaker_conf_t               common;        /* breaker_provider */
    res_quorum_conf_t                quorum;
} ngx_http_resilience_policy_t;


typedef struct {
    ngx_str_t                        value;   /* of the header: the prefix and
                                                 the secret */
    uint64_t                         hash;    /* keyed, of the secret and the
                                                 provider's name */
} ngx_http_resilience_secret_t;


typedef struct {
    ngx_str_t                        secret;  /* given by llm_key */
    ngx_str_t                        path;    /* given by llm_key_file */
    ngx_str_t                        prefix;
    ngx_http_resilience_secret_t    *secrets;
    ngx_uint_t                       n;       /* of them; 0: no key */
    void                            *hashed;  /* for which zone they were */
    u_char                          *data;    /* of a file: holds the values */
    size_t                           len;
    uint32_t                         crc;     /* of what was parsed */
    time_t                           checked;
    time_t                           mtime;
    off_t                            size;
    ngx_file_uniq_t                  uniq;
    unsigned                         fresh:1; /* may change unnoticed: it was
                                                 read in the same second */
    unsigned                         failed:1;  /* to be read */
    unsigned                         parsed:1;
} ngx_http_resilience_key_t;


/* the credential of an attempt */

typedef struct {
    ngx_str_t                        value;
    uint64_t                         hash;
    ngx_uint_t                       number;  /* in its file, from 0 */
    ngx_uint_t                       of;      /* keys that take turns; 0: the
                                                 provider has none */
} ngx_http_resilience_turn_t;


typedef struct {
    ngx_str_t                        from;    /* empty: any */
    ngx_str_t                        to;
    ngx_str_t                        json;    /* to, as a JSON string */
} ngx_http_resilience_model_t;


/* why a retry that was due did not start */

typedef enum {
    NGX_HTTP_RESILIENCE_MAX_RETRIES = 0,
    NGX_HTTP_RESILIENCE_NO_TIME,
    NGX_HTTP_RESILIENCE_NO_BUDGET,
    NGX_HTTP_RESILIENCE_NOT_IDEMPOTENT,
    NGX_HTTP_RESILIENCE_DENIALS
} ngx_http_resilience_denial_e;


/* the limit that ended an attempt; one of a policy's "timeout" */

typedef enum {
    NGX_HTTP_RESILIENCE_NO_PHASE = 0,
    NGX_HTTP_RESILIENCE_CONNECT,
    NGX_HTTP_RESILIENCE_FIRST_BYTE,
    NGX_HTTP_RESILIENCE_IDLE,
    NGX_HTTP_RESILIENCE_ATTEMPT,
    NGX_HTTP_RESILIENCE_TOTAL,
    NGX_HTTP_RESILIENCE_PHASES
} ngx_http_resilience_phase_e;


/* what came of a breaker's being asked */

typedef enum {
    NGX_HTTP_RESILIENCE_SUCCEEDED = 0,
    NGX_HTTP_RESILIENCE_FAILURE,
    NGX_HTTP_RESILIENCE_NEUTRAL,
    NGX_HTTP_RESILIENCE_REJECTED,
    NGX_HTTP_RESILIENCE_RESULTS
} ngx_http_resilience_result_e;


/*
 * A histogram of fixed bounds, the last of them UINT32_MAX: for what is too
 * rare, or too short of values, for one of latencies.
 */

#define NGX_HTTP_RESILIENCE_RUNGS  13

typedef struct {
    ngx_atomic_t                     counts[NGX_HTTP_RESILIENCE_RUNGS];
    ngx_atomic_t                     sum;
} ngx_http_resilience_ladder_t;


/* statuses that are told apart where a call goes on after them */

#define NGX_HTTP_RESILIENCE_STATUSES  16


/*
 * What the zone keeps of a provider.  Attempts and outcomes are counted
 * without a lock, the rest is under the zone's.
 *
 * All from attempts to budget is what was counted: it is carried over as one.
 *
 * What an administrator says of a provider is said of all its tenants, also
 * of those that come later: it starts a new epoch, and a cell that is met in
 * an older one is brought up to it.
 */

typedef struct {
    u_char                           name[NGX_HTTP_RESILIENCE_NAME];
    size_t                           len;
    ngx_uint_t                       number;
    ngx_uint_t                       inflight;

    ngx_atomic_t                     attempts;
    ngx_atomic_t                     outcomes[RES_OUTCOMES];

    ngx_atomic_t                     input_tokens;
    ngx_atomic_t                     output_tokens;
    ngx_atomic_t                     turn;     /* of its keys */

    ngx_atomic_t                     denied[NGX_HTTP_RESILIENCE_DENIALS];
    ngx_atomic_t                     hedges_won;
    ngx_atomic_t                     hedges_lost;
    ngx_atomic_t                     timeouts[NGX_HTTP_RESILIENCE_PHASES];
    ngx_atomic_t                     statuses[NGX_HTTP_RESILIENCE_STATUSES];

    /* of the breakers of tenants: by the state that they were asked in, by
       the states that one went from and to, and how long they were open */

    ngx_atomic_t                     asked[RES_BREAKER_STATES]
                                          [NGX_HTTP_RESILIENCE_RESULTS];
    ngx_atomic_t                     transitions[RES_BREAKER_STATES]
                                                [RES_BREAKER_STATES];
    ngx_http_resilience_ladder_t     open;        /* ms */

    res_histogram_t                  attempt;     /* ms, to the end */
    res_histogram_t                  first_byte;  /* ms, to the commit */

    res_budget_t                     budget;
    res_ewma_t                       latency;     /* of first_byte */
    uint32_t                         epoch;
    res_forced_e                     forced;
    res_breaker_t                    breaker;  /* for all tenants */
    res_quorum_t                     quorum;
} ngx_http_resilience_counters_t;


/*
 * What the zone keeps of a chain, and of a move of calls of it from a provider
 * to another; see ngx_http_resilience_tally.c.
 */

typedef struct {
    u_char                           name[NGX_HTTP_RESILIENCE_NAME];
    size_t                           len;
    ngx_uint_t                       number;
    ngx_atomic_t                     outcomes[RES_OUTCOMES];
} ngx_http_resilience_tally_t;

typedef struct ngx_http_resilience_move_s  ngx_http_resilience_move_t;

struct ngx_http_resilience_move_s {
    ngx_http_resilience_move_t      *next;
    uint32_t                         chain;
    uint16_t                         from;
    uint16_t                         to;
    ngx_atomic_t                     count;
};


typedef struct {
    ngx_str_t                        name;
    ngx_http_resilience_place_t      place;

    void                           **loc_conf;
    ngx_http_resilience_counters_t  *counters;

    const llm_dialect_t             *dialect;
    ngx_http_resilience_key_t       *key;     /* NULL: none of its own */
    ngx_array_t                     *models;  /* _model_t, NULL: unchanged */
    size_t                           hold;
    ngx_flag_t                       usage;   /* streams are asked for it */

    ngx_str_t                        endpoint;
    ngx_str_t                        path;    /* of it, goes before the
                                                 request's; often empty */
    ngx_uint_t                       keepalive;
    ngx_uint_t                       caches;  /* proxy_cache is on */
} ngx_http_resilience_provider_t;


typedef struct {
    ngx_str_t                        provider_name;
    ngx_str_t                        policy_name;
    ngx_http_resilience_place_t      place;

    uint32_t                         weight;
    unsigned                         weighted:1;   /* weight= was given */

    ngx_http_resilience_provider_t  *provider;
    ngx_http_resilience_policy_t    *policy;
} ngx_http_resilience_step_t;


typedef enum {
    NGX_HTTP_RESILIENCE_ORDER = 0,
    NGX_HTTP_RESILIENCE_WEIGHTED,
    NGX_HTTP_RESILIENCE_LEAST_LATENCY
} ngx_http_resilience_balance_e;


/* the answer of a chain that has no other */

typedef struct {
    ngx_uint_t                       status;  /* 0: none */
    ngx_str_t                        body;
    ngx_str_t                        type;
    ngx_str_t                        exten;   /* of the file */
    unsigned                         given:1; /* the body is */
    unsigned                         typed:1; /* so is the type */
} ngx_http_resilience_fallback_t;


typedef struct {
    ngx_str_t                        name;
    ngx_http_resilience_place_t      place;

    ngx_str_t                        policy_name;
    ngx_http_resilience_place_t      policy_place;

    ngx_array_t                      steps;   /* _step_t */
    ngx_uint_t                       attempts;
    ngx_http_resilience_balance_e    balance;
    ngx_http_resilience_step_t     **order;   /* the steps as configured */

    ngx_http_resilience_tally_t     *tally;
    ngx_http_resilience_move_t     **moves;   /* by the numbers of two steps,
                                                 from * nelts + to; NULL: there
                                                 is no such move */
    ngx_uint_t                       named;   /* in the configuration */

    ngx_msec_t                       open_wait;  /* when_open; 0: no wait */
    ngx_uint_t                       open_try;

    ngx_uint_t                       stale;   /* fallback stale */
    ngx_http_resilience_fallback_t   fallback;

    unsigned                         single:1;  /* a provider's name */
} ngx_http_resilience_chain_t;


/* attempts in flight; see ngx_http_resilience_flight.c */

#define NGX_HTTP_RESILIENCE_FLIGHTS  340

typedef struct {
    uint32_t                         cell;
    uint32_t                         incarnation;
    uint16_t                         provider:15;
    uint16_t                         used:1;
    uint16_t                         next;     /* free one */
} ngx_http_resilience_flight_t;

typedef struct {
    ngx_pid_t                        pid;      /* whose; 0: no one's */
    uint16_t                         used;
    uint16_t                         free;
    ngx_http_resilience_flight_t     flights[NGX_HTTP_RESILIENCE_FLIGHTS];
} ngx_http_resilience_block_t;


/* the last of them; see ngx_http_resilience_transition.c */

#define NGX_HTTP_RESILIENCE_TRANSITIONS  64

typedef struct {
    uint64_t                         id;       /* from 1 */
    uint64_t                         at;       /* ms */
    uint16_t                         provider;
    uint8_t                          from;     /* res_breaker_state_e */
    uint8_t                          to;
    uint8_t                          reason;   /* res_breaker_reason_e */
    uint8_t                          common;   /* of all tenants' breaker */
    uint8_t                          len;
    u_char                           tenant[RES_TENANT_LEN];
} ngx_http_resilience_transition_t;

typedef struct {
    uint64_t                         noted;    /* ever; the next one's place */
    ngx_http_resilience_transition_t entries[NGX_HTTP_RESILIENCE_TRANSITIONS];
} ngx_http_resilience_transitions_t;


/* the zone's shared part; see ngx_http_resilience_zone.c */

typedef struct {
    ngx_uint_t                       version;
    u_char                           hmac_key[32];
    u_char                           id[16];   /* of all zones, this one */
    u_char                           from[16]; /* the one whose state file was
                                                  read; zero: none was */
    ngx_uint_t                       nproviders;
    ngx_http_resilience_counters_t  *providers[NGX_HTTP_RESILIENCE_PROVIDERS];
    ngx_uint_t                       nchains;
    ngx_http_resilience_tally_t     *chains[NGX_HTTP_RESILIENCE_CHAINS];
    ngx_http_resilience_move_t      *moves;
    ngx_http_resilience_ladder_t     tries;    /* attempts of a call */
    res_table_t                     *table;
    res_rests_t                      rests;    /* of keys */
    ngx_uint_t                       nblocks;
    ngx_http_resilience_block_t     *blocks;
    ngx_atomic_t                     eviction_logged;   /* seconds */
    ngx_http_resilience_limits_t    *limits;   /* NULL: there never was one */
    ngx_http_resilience_transitions_t  transitions;
} ngx_http_resilience_shared_t;


typedef struct {
    ngx_shm_zone_t                  *shm_zone;
    ngx_slab_pool_t                 *shpool;
    ngx_http_resilience_shared_t    *shared;
    ngx_array_t                     *provider_list;  /* main conf's */
    ngx_array_t                     *limit_list;     /* the same */
    ngx_array_t                     *chain_list;
    ngx_cycle_t                     *cycle;
    ngx_str_t                        state;    /* file; empty: none */
} ngx_http_resilience_zone_t;


typedef struct {
    ngx_http_resilience_zone_t      *zone;
    ngx_str_t                        zone_name;
    size_t                           zone_size;
    ngx_str_t                        zone_state;

    ngx_array_t                      policies;    /* _policy_t * */
    ngx_array_t                      providers;   /* _provider_t * */
    ngx_array_t                      chains;      /* _chain_t * */
    ngx_array_t                      passes;      /* _loc_conf_t * */
    ngx_array_t                      limits;      /* _limit_t * */

    ngx_http_conf_ctx_t             *providers_ctx;  /* of their server */
} ngx_http_resilience_main_conf_t;


typedef struct {
    /* resilience_pass */
    ngx_http_resilience_chain_t     *chain;
    ngx_str_t                        chain_name;
    ngx_http_resilience_place_t      place;
    ngx_http_complex_value_t        *chain_value;  /* holds variables */

    /* resilience_tenant */
    ngx_http_complex_value_t        *tenant;
    unsigned                         tenant_hash:1;
    unsigned                         tenant_required:1;

    /* resilience_limit */
    ngx_array_t                     *limits;       /* _limit_t *, or NULL */
    ngx_flag_t                       dry_run;

    ngx_flag_t                       headers;
    ngx_uint_t                       admin;        /* resilience_status */
    ngx_uint_t                       prometheus;
    ngx_uint_t                       top;          /* tenants=top:n; 0: none */
    ngx_uint_t                       json;         /* whatever is asked for */
    ngx_uint_t                       html;

    ngx_http_resilience_provider_t  *provider;     /* inside of its block */
} ngx_http_resilience_loc_conf_t;


/*
 * An attempt: one subrequest to one provider.
 */

typedef enum {
    NGX_HTTP_RESILIENCE_PENDING = 0,
    NGX_HTTP_RESILIENCE_PERMITTED,
    NGX_HTTP_RESILIENCE_RUNNING,
    NGX_HTTP_RESILIENCE_COMMITTED,
    NGX_HTTP_RESILIENCE_COMPLETED,
    NGX_HTTP_RESILIENCE_FAILED,
    NGX_HTTP_RESILIENCE_CANCELLED
} ngx_http_resilience_state_e;

typedef enum {
    NGX_HTTP_RESILIENCE_NOT_CANCELLED = 0,
    NGX_HTTP_RESILIENCE_BY_CLIENT,
    NGX_HTTP_RESILIENCE_BY_SHUTDOWN,
    NGX_HTTP_RESILIENCE_SUPERSEDED,
    NGX_HTTP_RESILIENCE_BY_DEADLINE
} ngx_http_resilience_reason_e;


/* a permit of the zone: which cell, which use of it, and the breakers' own */

typedef struct {
    uint32_t                         cell;
    uint32_t                         incarnation;
    ngx_http_resilience_block_t     *block;
    ngx_uint_t                       flight;
    res_permit_t                     permit;
    res_permit_t                     common;   /* of all tenants' breaker */
    res_breaker_state_e              state;    /* of the breaker, when it was
                                                  asked */
    unsigned                         held:1;
} ngx_http_resilience_ticket_t;


/* a line of the trace */

typedef struct {
    ngx_http_resilience_provider_t  *provider;
    res_outcome_e                    outcome;
    ngx_uint_t                       status;
    ngx_msec_t                       elapsed;   /* of a refusal: waited for */
} ngx_http_resilience_trace_t;


/* bytes of an answer kept back, in memory */

typedef struct {
    ngx_chain_t                     *chain;
    ngx_chain_t                    **last;
    size_t                           size;
} ngx_http_resilience_held_t;


struct ngx_http_resilience_attempt_s {
    ngx_http_resilience_call_t      *call;
    ngx_http_resilience_step_t      *step;
    ngx_http_resilience_attempt_t   *next;       /* earlier one of the call */

    ngx_http_request_t              *request;    /* the subrequest */
    ngx_http_post_subrequest_t       post;
    ngx_event_t                      timer;

    ngx_http_resilience_state_e      state;
    ngx_http_resilience_reason_e     reason;
    ngx_http_resilience_ticket_t     ticket;
    ngx_http_resilience_turn_t       turn;

    ngx_uint_t                       number;     /* from 1 */
    ngx_msec_t                       started;
    ngx_msec_t                       seen;       /* last sign of life */
    ngx_msec_t                       first_byte; /* ms, when committed */

    res_outcome_e                    outcome;
    ngx_uint_t                       status;     /* HTTP, 0: none came */
    ngx_uint_t                       grpc_status;  /* 0: OK, or none came */
    ngx_http_resilience_phase_e      limit;      /* that is due next */

    ngx_msec_t                       hint;       /* the provider asks to wait
                                                    so long, 0: nothing */
    ngx_msec_t                       rest;       /* until its breaker may let
                                                    the next one through */
    ngx_http_resilience_held_t       held;
    llm_sse_t                       *sse;        /* NULL: no event stream */
    llm_usage_t                      usage;      /* tokens, as far as told */
    llm_usage_scan_t                *tokens;     /* of a long text, or NULL */
    ngx_http_resilience_strip_t     *strip;      /* NULL: nothing to take out */
    llm_stream_t                     stream;
    unsigned                         advice;     /* LLM_ADVICE_... */
    res_outcome_e                    inner;      /* of an error in a stream
                                                    after commit, or 0 */

    /* of a location with a cache: what was there before ours */

    ngx_http_handler_pt              content_handler;
    ngx_int_t                      (*create_key)(ngx_http_request_t *r);
    ngx_int_t                      (*create_request)(ngx_http_request_t *r);

    unsigned                         header:1;   /* the header has come */
    unsigned                         grpc:1;     /* it is gRPC's */
    unsigned                         body:1;     /* a byte that is no white
                                                    space has come */
    unsigned                         whole:1;    /* the body's end has come */
    unsigned                         terminal:1; /* the stream's mark, too */
    unsigned                         judged:1;   /* outcome is final */
    unsigned                         broken:1;   /* after commit */
    unsigned                         told:1;     /* the provider's own error
                                                    event was passed on */
    unsigned                         coded:1;    /* by a Content-Encoding */
    unsigned                         ended:1;    /* the client was told of
                                                    the end */
    unsigned                         recorded:1; /* counted, permit is back */
    unsigned                         overflow:1; /* more than could be held */
    unsigned                         unsent:1;   /* nothing was sent */
    unsigned                         stale:1;    /* a kept connection that the
                                                    provider had closed */
    unsigned                         asks:1;     /* for usage that the client
                                                    did not ask for */
    unsigned                         committed:1;
    unsigned                         hedge:1;    /* beside a silent one */
    unsigned                         cached:1;   /* asks the provider's cache
                                                    and no one else */
    unsigned                         slow:1;     /* was told to be */
    unsigned                         unfair:1;   /* the call's deadline left
                                                    it too little time */
    unsigned                         should_retry:1;  /* the provider says so */
    unsigned                         should_not_retry:1;
    unsigned                         hinted:1;   /* by a header that says when
                                                    to try again */
    unsigned                         failed:1;   /* to the breaker */
};


/* an error answer kept for the case that nothing better comes */

typedef struct {
    ngx_http_resilience_attempt_t   *attempt;    /* NULL: none */
    ngx_uint_t                       whole;
} ngx_http_resilience_kept_t;


typedef enum {
    NGX_HTTP_RESILIENCE_CALL_READING = 0,  /* the request body */
    NGX_HTTP_RESILIENCE_CALL_RUNNING,      /* an attempt runs */
    NGX_HTTP_RESILIENCE_CALL_SETTLING,     /* it ended, what next? */
    NGX_HTTP_RESILIENCE_CALL_WAITING,      /* backoff */
    NGX_HTTP_RESILIENCE_CALL_STREAMING,    /* an attempt has committed */
    NGX_HTTP_RESILIENCE_CALL_DONE
} ngx_http_resilience_call_state_e;


struct ngx_http_resilience_call_s {
    ngx_http_request_t              *request;
    ngx_http_resilience_chain_t     *chain;
    ngx_http_resilience_policy_t    *policy;     /* of its first provider */
    ngx_http_resilience_zone_t      *zone;

    ngx_str_t                        tenant;     /* as shown, <= 64 bytes */

    ngx_http_resilience_call_state_e state;
    ngx_event_t                      timer;      /* backoff, or hedge */
    ngx_queue_t                      queue;      /* all of this process */
    ngx_msec_t                       started;
    ngx_msec_t                       deadline;   /* 0: none */
    ngx_msec_t                       waited;
    ngx_msec_t                       first_byte; /* ms, when committed */

    ngx_http_resilience_step_t     **steps;      /* in the call's order */
    ngx_uint_t                       step;
    ngx_uint_t                       retried;    /* on this step */
    ngx_uint_t                       attempts;
    ngx_msec_t                       backoff;    /* last wait */
    uint64_t                         retry_granted;  /* by the budget, when */
    ngx_msec_t                       retry_after;/* until the earliest
                                                    half-open */
    ngx_uint_t                       least_open; /* the step with that */
    ngx_msec_t                       open_until; /* end of the wait for it,
                                                    0: none was begun */

    ngx_http_resilience_attempt_t   *attempt;    /* all, the latest first */
    ngx_http_resilience_attempt_t   *settled;    /* the one to end last */
    ngx_http_resilience_attempt_t   *winner;     /* NULL before commit */
    ngx_uint_t                       running;    /* attempts that do */
    ngx_uint_t                       hedges;
    ngx_http_resilience_kept_t       kept;
    ngx_array_t                      trace;      /* _trace_t */
    ngx_uint_t                       stale_step; /* whose cache is next */
    ngx_uint_t                       spent;      /* the status of that, 0: it
                                                    is not */
    res_outcome_e                    outcome;

    ngx_http_resilience_asked_t     *asked;      /* NULL: was not looked at */

    unsigned                         resendable:1; /* method or key allows */
    unsigned                         no_fallback:1;
    unsigned                         names_headers:1; /* Connection does */
    unsigned                         resent:1;   /* after a stale connection,
                                                    on this step */
    unsigned                         rotated:1;  /* to another key, the same */
    unsigned                         refused:1;  /* an open breaker was met */
};


/* a text in the making; see ngx_http_resilience_out.c */

typedef struct {
    ngx_pool_t                      *pool;
    ngx_chain_t                     *first;
    ngx_chain_t                    **last;
    ngx_buf_t                       *buf;
    off_t                            size;
    unsigned                         failed:1;
} ngx_http_resilience_out_t;


extern ngx_module_t  ngx_http_resilience_module;


/* ngx_http_resilience_policy.c */

char *ngx_http_resilience_policy(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_http_resilience_policy_t *ngx_http_resilience_policy_find(
    ngx_http_resilience_main_conf_t *rmcf, ngx_str_t *name);

/* ngx_http_resilience_preset.c */

void ngx_http_resilience_preset_default(ngx_http_resilience_policy_t *policy);

/* NGX_OK, or NGX_DECLINED: there is none of that name */
ngx_int_t ngx_http_resilience_preset_apply(
    ngx_http_resilience_policy_t *policy, ngx_str_t *name);

/* writes their names, each after a space; returns the end of it */
u_char *ngx_http_resilience_preset_list(u_char *p, u_char *last);

/* ngx_http_resilience_provider.c */

char *ngx_http_resilience_provider(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_resilience_dialect(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_resilience_model(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_resilience_hold(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_resilience_usage(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_http_resilience_provider_t *ngx_http_resilience_provider_find(
    ngx_http_resilience_main_conf_t *rmcf, ngx_str_t *name);

/* the provider whose block a directive stands in, or NULL and a message */
ngx_http_resilience_provider_t *ngx_http_resilience_provider_of(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);

/* reads directives of ours as if they stood where the reading is now */
char *ngx_http_resilience_provider_text(ngx_conf_t *cf, void *ctx,
    ngx_uint_t type, ngx_str_t *text);

/* ngx_http_resilience_endpoint.c */

char *ngx_http_resilience_endpoint(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* makes the upstream and the directives, at the end of the provider's block */
char *ngx_http_resilience_endpoint_init(ngx_conf_t *cf,
    ngx_http_conf_ctx_t *ctx, ngx_http_resilience_provider_t *provider);

/* ngx_http_resilience_chain.c */

char *ngx_http_resilience_chain(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_http_resilience_chain_t *ngx_http_resilience_chain_find(
    ngx_http_resilience_main_conf_t *rmcf, ngx_str_t *name);

/* resolves all names; after the whole configuration was read */
ngx_int_t ngx_http_resilience_chains_init(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf);

/* ngx_http_resilience_key.c */

char *ngx_http_resilience_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_resilience_key_file(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* after the whole configuration was read, when the dialect is known */
ngx_int_t ngx_http_resilience_key_init(ngx_conf_t *cf,
    ngx_http_resilience_provider_t *provider);

/*
 * The provider's keys as they are to be sent; looks at their file once a
 * second at most.  With none in it the provider is to be skipped.
 */
ngx_http_resilience_key_t *ngx_http_resilience_key_get(
    ngx_http_resilience_provider_t *provider, ngx_http_resilience_zone_t *zone,
    ngx_log_t *log);

/* What a rest of (tenant, provider) is bound to: its only key; or 0. */
uint32_t ngx_http_resilience_key_stamp(
    ngx_http_resilience_provider_t *provider);

/* ngx_http_resilience_rest.c */

/* the outcomes that speak of a key */
#define NGX_HTTP_RESILIENCE_OF_KEY                                            \
    (res_bit(RES_RATE_LIMITED) | res_bit(RES_QUOTA) | res_bit(RES_AUTH))

/*
 * The key whose turn it is: RES_SUCCESS, RES_NO_KEY, or RES_BREAKER_OPEN if
 * all of them rest, the first of them for *wait ms more; forced: that one is
 * taken all the same.
 */
res_outcome_e ngx_http_resilience_rest_turn(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_uint_t forced,
    ngx_http_resilience_turn_t *turn, uint64_t *wait);

/* Is there a key that the call could use instead, if it is refused this one? */
ngx_uint_t ngx_http_resilience_rest_other(ngx_http_resilience_attempt_t *a,
    res_outcome_e outcome);

/* The attempt has ended: lets its key rest, if it is one of several. */
void ngx_http_resilience_rest_key(ngx_http_resilience_attempt_t *a);

/* The call moves on: lets (tenant, provider) rest, if there is a reason. */
void ngx_http_resilience_rest(ngx_http_resilience_attempt_t *a);

/* Under the lock: an administrator's word ends what rests; NULL: for all. */
void ngx_http_resilience_rest_end(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_counters_t *provider, ngx_str_t *tenant);

/* Keys that rest for all tenants. */
ngx_uint_t ngx_http_resilience_rest_count(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_key_t *key);

/* ngx_http_resilience_zone.c */

char *ngx_http_resilience_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_http_resilience_zone_add(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf);

/* The zone of a cycle in a process that makes calls, or NULL. */
ngx_http_resilience_zone_t *ngx_http_resilience_zone_get(ngx_cycle_t *cycle);

/* The zone's lock; holders must not log, allocate from a pool or block. */
void ngx_http_resilience_zone_enter(ngx_http_resilience_zone_t *zone);
void ngx_http_resilience_zone_leave(ngx_http_resilience_zone_t *zone);

/* Under the lock: brings a cell up to its provider's epoch. */
void ngx_http_resilience_zone_settle(ngx_http_resilience_zone_t *zone,
    res_cell_t *cell);

/*
 * Under the lock, after the cell's breaker was told something: the table knows
 * of it, and it is counted.  t: the change of state that it made, or NULL.
 */
void ngx_http_resilience_zone_changed(ngx_http_resilience_zone_t *zone,
    res_cell_t *cell, res_transition_t *t);

/* Under the lock: begins a new epoch of the provider, in that forced state. */
void ngx_http_resilience_zone_epoch(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_counters_t *provider, res_forced_e forced);

/* The provider of that name, or NULL. */
ngx_http_resilience_counters_t *ngx_http_resilience_zone_find(
    ngx_http_resilience_shared_t *shared, u_char *name, size_t len);

/*
 * Under the lock: what a provider has to its name goes into a new zone; what
 * is in flight, and the votes of tenants, which are known by hashes of the old
 * zone, do not.
 */
void ngx_http_resilience_zone_carry(ngx_http_resilience_shared_t *shared,
    ngx_http_resilience_counters_t *to, ngx_http_resilience_counters_t *from);

/* ngx_http_resilience_tally.c */

/* bytes of a zone that the chains of this configuration take */
size_t ngx_http_resilience_tally_bytes(ngx_array_t *chains);

/* finds or makes the counters of all chains; NGX_ERROR: said why not */
ngx_int_t ngx_http_resilience_tally_init(ngx_http_resilience_zone_t *zone);

/*
 * What was counted of a chain, and of a move of the chain of that number here,
 * goes into a new zone: NULL: the chain is not known any more.
 */
ngx_http_resilience_tally_t *ngx_http_resilience_tally_carry(
    ngx_http_resilience_shared_t *shared, ngx_http_resilience_tally_t *from);
void ngx_http_resilience_tally_carry_move(
    ngx_http_resilience_shared_t *shared, ngx_http_resilience_tally_t *chain,
    ngx_uint_t from, ngx_uint_t to, ngx_atomic_uint_t count);

/* under the lock of the other zone: all of it; map: its providers' numbers */
void ngx_http_resilience_tally_copy(ngx_http_resilience_shared_t *to,
    ngx_http_resilience_shared_t *from, uint16_t *map);

/* a call is over; it goes from its step to the next one */
void ngx_http_resilience_tally_call(ngx_http_resilience_call_t *call);
void ngx_http_resilience_tally_move(ngx_http_resilience_call_t *call);

/* bounds of attempts of a call, and of ms that a breaker was open */
extern const uint32_t  ngx_http_resilience_tries[NGX_HTTP_RESILIENCE_RUNGS];
extern const uint32_t
    ngx_http_resilience_open_times[NGX_HTTP_RESILIENCE_RUNGS];

void ngx_http_resilience_ladder_count(ngx_http_resilience_ladder_t *ladder,
    const uint32_t *bounds, ngx_atomic_uint_t value);

/* ngx_http_resilience_state.c */

/* resilience_zone state=: makes it a full path, or says what is wrong */
ngx_int_t ngx_http_resilience_state_path(ngx_conf_t *cf, ngx_str_t *path);

/* warns if workers will not be able to write there */
void ngx_http_resilience_state_check(ngx_http_resilience_zone_t *zone,
    ngx_log_t *log);

/* of a zone that is new: takes what the file has, or says why it does not */
void ngx_http_resilience_state_load(ngx_http_resilience_zone_t *zone,
    ngx_log_t *log);

/* of a worker: writes the file now and then */
void ngx_http_resilience_state_start(ngx_cycle_t *cycle);
void ngx_http_resilience_state_stop(void);

/* of the master, at its end: writes the file */
void ngx_http_resilience_state_save(ngx_http_resilience_zone_t *zone,
    ngx_log_t *log);

/* ngx_http_resilience_header.c */

ngx_table_elt_t *ngx_http_resilience_header(ngx_list_t *headers,
    const char *name);

/* ngx_http_resilience_hint.c */

/* reads what an error answer says of a retry, and when */
void ngx_http_resilience_hint(ngx_http_resilience_attempt_t *a);

/* the same of its body, as far as it is there, where the header said less */
void ngx_http_resilience_hint_body(ngx_http_resilience_attempt_t *a,
    llm_answer_t *answer, res_outcome_e outcome);

/* ngx_http_resilience_balance.c */

/* the steps of the chain in the order that this call goes; NULL: no memory */
ngx_http_resilience_step_t **ngx_http_resilience_balance(
    ngx_http_resilience_call_t *call);

/* ngx_http_resilience_permit.c */

/*
 * RES_SUCCESS, or the outcome of one that may not start.
 *
 * Asks the breakers of (the call's tenant, provider) and of the provider for
 * a permit that is good for lease ms.  On a refusal *wait is the ms until one
 * may be had.
 */
res_outcome_e ngx_http_resilience_permit_admit(
    ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_msec_t lease,
    ngx_http_resilience_ticket_t *ticket, uint64_t *wait);

/* The same without asking; how the attempt ends is nothing to the breakers. */
void ngx_http_resilience_permit_force(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_http_resilience_ticket_t *ticket);

/* The attempt is over: gives the permit back with how it ended. */
void ngx_http_resilience_permit_record(ngx_http_resilience_attempt_t *a,
    res_result_e result);

/*
 * The attempt began to answer: a half-open probe is judged now and not when a
 * long stream ends; from here on it is an ordinary attempt.
 */
void ngx_http_resilience_permit_commit(ngx_http_resilience_attempt_t *a);

/*
 * The provider is to be left alone for so many ms, or until it has another
 * credential than that of the stamp; 0: whichever it has.
 */
void ngx_http_resilience_permit_rest(ngx_http_resilience_attempt_t *a,
    ngx_msec_t ms, uint32_t stamp);

/* May the provider be sent a retry?  Counts it; 0: its budget is spent. */
ngx_uint_t ngx_http_resilience_permit_retry(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step);

/* Are the breakers closed that would be asked?  Asks none. */
ngx_uint_t ngx_http_resilience_permit_closed(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step);

/* The retry that was counted will not be sent. */
void ngx_http_resilience_permit_unsent(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step);

/* The attempt has become a slow one. */
void ngx_http_resilience_permit_slow(ngx_http_resilience_attempt_t *a);

/*
 * What an administrator says of (tenant, provider), or of all tenants of the
 * provider if tenant is NULL: a forced state, or reset.  NGX_OK, or
 * NGX_DECLINED: there is no such cell.
 */
ngx_int_t ngx_http_resilience_permit_say(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_counters_t *provider, ngx_str_t *tenant,
    res_forced_e forced, ngx_uint_t reset);

/* ngx_http_resilience_transition.c */

/*
 * Under the lock: a breaker changed its state, that of the cell or, if cell is
 * NULL, that of all tenants of the provider.  Nothing, if it did not.
 */
void ngx_http_resilience_transition_note(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_counters_t *provider, res_cell_t *cell,
    res_transition_t *t);

/* The same, after an administrator's word; from is what was shown before. */
void ngx_http_resilience_transition_said(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_counters_t *provider, res_cell_t *cell,
    ngx_uint_t from);


/* Into a new zone; map: its numbers of the old one's providers. */
void ngx_http_resilience_transition_copy(ngx_http_resilience_shared_t *to,
    ngx_http_resilience_shared_t *from, uint16_t *map);

/* ngx_http_resilience_flight.c */

/* under the lock: the ticket's cell and provider have one more in flight */
void ngx_http_resilience_flight_take(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_ticket_t *ticket, ngx_uint_t provider);
void ngx_http_resilience_flight_give(ngx_http_resilience_zone_t *zone,
    ngx_http_resilience_ticket_t *ticket, ngx_uint_t provider);

/* of a new zone: no block is anyone's */
void ngx_http_resilience_flight_init(ngx_http_resilience_shared_t *shared);

/* under the lock, after its holder died: counts anew what is in flight */
void ngx_http_resilience_flight_recount(ngx_http_resilience_zone_t *zone);

/* of a worker: looks for processes that died; ends what is its own */
void ngx_http_resilience_flight_start(ngx_cycle_t *cycle);
void ngx_http_resilience_flight_stop(ngx_cycle_t *cycle);

/* is there no process of that id? */
ngx_uint_t ngx_http_resilience_flight_gone(ngx_pid_t pid);

/* ngx_http_resilience_call.c */

ngx_int_t ngx_http_resilience_handler(ngx_http_request_t *r);

/* ends a request that is over its limits before it becomes a call */
void ngx_http_resilience_call_limited(ngx_http_request_t *r,
    const char *message);

/* the attempt is over, its outcome is known: goes on with the call */
void ngx_http_resilience_call_settle(ngx_http_resilience_attempt_t *a);

/* the attempt is judged, though it runs on: ends it, off the stack */
ngx_int_t ngx_http_resilience_call_wake(ngx_http_resilience_call_t *call);

/* ms that are left of the call, or NGX_MAX_INT_T_VALUE */
ngx_msec_int_t ngx_http_resilience_call_left(ngx_http_resilience_call_t *call);

/* what it came to, or what it looks like while it runs */
res_outcome_e ngx_http_resilience_call_outcome(
    ngx_http_resilience_call_t *call);

ngx_http_resilience_call_t *ngx_http_resilience_get_call(
    ngx_http_request_t *r);

/* of a process that ends: the calls that it still has end now */
void ngx_http_resilience_calls_end(void);

/* one attempt has committed: the others are not wanted any more */
void ngx_http_resilience_call_won(ngx_http_resilience_attempt_t *a);

/* its parts, for the route */

void ngx_http_resilience_call_wait(ngx_http_resilience_call_t *call,
    ngx_msec_t delay);
void ngx_http_resilience_call_spent(ngx_http_resilience_call_t *call);
void ngx_http_resilience_call_finish(ngx_http_resilience_call_t *call,
    ngx_int_t rc);
void ngx_http_resilience_call_trace(ngx_http_resilience_call_t *call,
    ngx_http_resilience_provider_t *provider, res_outcome_e outcome,
    ngx_uint_t status, ngx_msec_t elapsed);

/* ngx_http_resilience_route.c */

/* starts the call's next attempt that is permitted, or ends it */
void ngx_http_resilience_route_next(ngx_http_resilience_call_t *call);

/* the call's attempts have ended: goes on, or ends it */
void ngx_http_resilience_route_on(ngx_http_resilience_call_t *call);

/* the call's attempt is silent for so long: starts another beside it */
void ngx_http_resilience_route_hedge(ngx_http_resilience_call_t *call);

const char *ngx_http_resilience_denial_name(
    ngx_http_resilience_denial_e reason);

/* would this outcome be answered by another attempt, if one is left? */
ngx_uint_t ngx_http_resilience_route_moves_on(ngx_http_resilience_attempt_t *a,
    res_outcome_e outcome);

/* ngx_http_resilience_attempt.c */

ngx_int_t ngx_http_resilience_attempt_start(
    ngx_http_resilience_attempt_t *a);
void ngx_http_resilience_attempt_cancel(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_reason_e reason, res_outcome_e outcome);

const char *ngx_http_resilience_phase_name(ngx_http_resilience_phase_e phase);

/* ngx_http_resilience_count.c */

void ngx_http_resilience_count(ngx_http_resilience_attempt_t *a,
    res_result_e result);

/* of a status that is told apart, in writing; of the last: "5xx" */
void ngx_http_resilience_count_status_name(ngx_uint_t i, u_char name[4]);

/* its provider has done its part: counts it, gives the permit back; once */
void ngx_http_resilience_attempt_record(ngx_http_resilience_attempt_t *a);
void ngx_http_resilience_attempt_arm(ngx_http_resilience_attempt_t *a);
res_outcome_e ngx_http_resilience_attempt_classify(
    ngx_http_resilience_attempt_t *a);
void ngx_http_resilience_attempt_move(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_state_e state);

/* the attempt that a subrequest is, or NULL */
ngx_http_resilience_attempt_t *ngx_http_resilience_get_attempt(
    ngx_http_request_t *r);

/* ngx_http_resilience_filter.c */

ngx_int_t ngx_http_resilience_filter_init(ngx_conf_t *cf);

/* ngx_http_resilience_request.c */

/* what the provider is to be sent: method, headers, credential, body */
ngx_int_t ngx_http_resilience_request_prepare(
    ngx_http_resilience_attempt_t *a);

/* was the provider sent a credential of the client's? */
ngx_uint_t ngx_http_resilience_request_lent(ngx_http_resilience_attempt_t *a);

/* is the client's credential meant for the attempt's provider? */
ngx_uint_t ngx_http_resilience_request_own(ngx_http_resilience_attempt_t *a);

/* the length of the body has changed */
ngx_int_t ngx_http_resilience_request_length(ngx_http_request_t *sr,
    off_t length);

/* ngx_http_resilience_bound.c */

/* the headers and the body were read: may another provider answer, too? */
ngx_int_t ngx_http_resilience_bound(ngx_http_resilience_call_t *call);

/* ngx_http_resilience_model.c */

/* does the request's path name the model?  The body is not asked then */
ngx_uint_t ngx_http_resilience_model_in_path(ngx_http_resilience_call_t *call,
    ngx_http_resilience_provider_t *provider, llm_str_t *name);

/*
 * What the model of that name, NULL: of none, is to be called at a provider
 * that has "llm_model"; NULL: as it is.
 */
ngx_http_resilience_model_t *ngx_http_resilience_model_match(
    ngx_http_resilience_provider_t *provider, const u_char *name, size_t len);

/* ngx_http_resilience_uri.c */

/* the attempt's path and arguments, with model and path of the provider */
ngx_int_t ngx_http_resilience_uri(ngx_http_resilience_attempt_t *a);

/* ngx_http_resilience_tenant.c */

char *ngx_http_resilience_tenant(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* NGX_OK, NGX_ERROR, or NGX_HTTP_UNAUTHORIZED */
ngx_int_t ngx_http_resilience_tenant_get(ngx_http_request_t *r,
    ngx_http_resilience_zone_t *zone, ngx_str_t *tenant);

/* ngx_http_resilience_variables.c */

ngx_int_t ngx_http_resilience_add_variables(ngx_conf_t *cf);

/* ngx_http_resilience_drain.c */

/* of a worker: calls must not be cut when it ends gracefully */
ngx_int_t ngx_http_resilience_drain_start(ngx_cycle_t *cycle);

/* ngx_http_resilience_status.c */

char *ngx_http_resilience_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* an argument of the request, unescaped; NGX_DECLINED: it is not there */
ngx_int_t ngx_http_resilience_status_arg(ngx_http_request_t *r,
    const char *name, ngx_str_t *value);

/* a JSON answer of a status location: {"name":"text"} */
ngx_int_t ngx_http_resilience_status_say(ngx_http_request_t *r,
    ngx_uint_t status, const char *name, const char *text);

/* ngx_http_resilience_page.c */

/* does the client want to see a page rather than JSON? */
ngx_uint_t ngx_http_resilience_page_wanted(ngx_http_request_t *r);
ngx_int_t ngx_http_resilience_page(ngx_http_request_t *r);

/* ngx_http_resilience_out.c */

void ngx_http_resilience_out_init(ngx_http_resilience_out_t *out,
    ngx_pool_t *pool);
void ngx_http_resilience_out_printf(ngx_http_resilience_out_t *out,
    const char *fmt, ...);

/* the text in quotes, as JSON and Prometheus want them */
void ngx_http_resilience_out_string(ngx_http_resilience_out_t *out,
    const u_char *data, size_t len);
ngx_int_t ngx_http_resilience_out_send(ngx_http_request_t *r,
    ngx_uint_t status, const char *type, ngx_http_resilience_out_t *out);

/*
 * The text in quotes, as the value of a label: up to 64 bytes.  Of one that is
 * no UTF-8 each byte that is not ASCII is replaced.  And that without quotes,
 * into a buffer; returns the length.
 */
#define NGX_HTTP_RESILIENCE_LABEL  (3 * NGX_HTTP_RESILIENCE_NAME)

void ngx_http_resilience_out_label(ngx_http_resilience_out_t *out,
    const u_char *data, size_t len);
size_t ngx_http_resilience_out_escape(u_char *buf, const u_char *data,
    size_t len);

/* ngx_http_resilience_prometheus.c */

/* the lines that go before a metric's */
void ngx_http_resilience_metric_head(ngx_http_resilience_out_t *out,
    const char *name, const char *type, const char *help);

/* top: the metrics of so many tenants, too */
void ngx_http_resilience_prometheus(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_out_t *out, ngx_uint_t top);

/* ngx_http_resilience_top.c */

/* resilience_status tenants=: NGX_OK, or NGX_ERROR and a message */
ngx_int_t ngx_http_resilience_top_conf(ngx_conf_t *cf, ngx_str_t *value,
    ngx_uint_t *top);

/* the metric of the n tenants that are most active */
void ngx_http_resilience_top(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_out_t *out, ngx_uint_t n);

/* ngx_http_resilience_admin.c */

/* POST: says something of the breakers */
ngx_int_t ngx_http_resilience_admin(ngx_http_request_t *r,
    ngx_http_resilience_zone_t *zone);


#include "ngx_http_resilience_answer.h"


#endif /* NGX_HTTP_RESILIENCE_H_INCLUDED */
