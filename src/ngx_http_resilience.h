
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#ifndef NGX_HTTP_RESILIENCE_H_INCLUDED
#define NGX_HTTP_RESILIENCE_H_INCLUDED


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "engine/backoff.h"
#include "engine/breaker.h"
#include "engine/outcome.h"
#include "engine/table.h"
#include "llm/dialect.h"
#include "llm/json.h"
#include "llm/sse.h"


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
#define NGX_HTTP_RESILIENCE_PROVIDERS  256   /* a zone knows at most */

#define NGX_HTTP_RESILIENCE_UPSTREAM  "resilience_"


typedef struct ngx_http_resilience_call_s      ngx_http_resilience_call_t;
typedef struct ngx_http_resilience_attempt_s   ngx_http_resilience_attempt_t;


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

    res_breaker_conf_t               breaker;
} ngx_http_resilience_policy_t;


typedef struct {
    ngx_str_t                        value;   /* of the header: the prefix and
                                                 the secret; empty: no key */
    ngx_str_t                        secret;  /* given by llm_key */
    ngx_str_t                        path;    /* given by llm_key_file */
    u_char                          *buf;     /* holds the value */
    size_t                           prefix;  /* its length */
    time_t                           checked;
    time_t                           mtime;
    off_t                            size;
    ngx_file_uniq_t                  uniq;
} ngx_http_resilience_key_t;


typedef struct {
    ngx_str_t                        from;    /* empty: any */
    ngx_str_t                        to;
    ngx_str_t                        json;    /* to, as a JSON string */
} ngx_http_resilience_model_t;


/* what the zone keeps of a provider; counters are bumped without a lock */

typedef struct {
    u_char                           name[NGX_HTTP_RESILIENCE_NAME];
    size_t                           len;
    ngx_uint_t                       number;
    ngx_atomic_t                     inflight;
    ngx_atomic_t                     attempts;
    ngx_atomic_t                     outcomes[RES_OUTCOMES];
} ngx_http_resilience_counters_t;


typedef struct {
    ngx_str_t                        name;
    ngx_http_resilience_place_t      place;

    void                           **loc_conf;
    ngx_http_resilience_counters_t  *counters;

    const llm_dialect_t             *dialect;
    ngx_http_resilience_key_t       *key;     /* NULL: none of its own */
    ngx_array_t                     *models;  /* _model_t, NULL: unchanged */
    size_t                           hold;

    ngx_str_t                        endpoint;
    ngx_str_t                        path;    /* of it, goes before the
                                                 request's; often empty */
    ngx_uint_t                       keepalive;
} ngx_http_resilience_provider_t;


typedef struct {
    ngx_str_t                        provider_name;
    ngx_str_t                        policy_name;
    ngx_http_resilience_place_t      place;

    ngx_http_resilience_provider_t  *provider;
    ngx_http_resilience_policy_t    *policy;
} ngx_http_resilience_step_t;


typedef struct {
    ngx_str_t                        name;
    ngx_http_resilience_place_t      place;

    ngx_str_t                        policy_name;
    ngx_http_resilience_place_t      policy_place;

    ngx_array_t                      steps;   /* _step_t */
    ngx_uint_t                       attempts;

    ngx_msec_t                       open_wait;  /* when_open; 0: no wait */
    ngx_uint_t                       open_try;

    ngx_uint_t                       fallback_status;  /* 0: none */
    ngx_str_t                        fallback_body;
    ngx_str_t                        fallback_type;
} ngx_http_resilience_chain_t;


/* the zone's shared part; see ngx_http_resilience_zone.c */

typedef struct {
    ngx_uint_t                       version;
    u_char                           hmac_key[32];
    ngx_uint_t                       nproviders;
    ngx_http_resilience_counters_t  *providers[NGX_HTTP_RESILIENCE_PROVIDERS];
    res_table_t                     *table;
    ngx_atomic_t                     eviction_logged;   /* seconds */
} ngx_http_resilience_shared_t;


typedef struct {
    ngx_shm_zone_t                  *shm_zone;
    ngx_slab_pool_t                 *shpool;
    ngx_http_resilience_shared_t    *shared;
    ngx_array_t                     *provider_list;  /* main conf's */
} ngx_http_resilience_zone_t;


typedef struct {
    ngx_http_resilience_zone_t      *zone;
    ngx_str_t                        zone_name;
    size_t                           zone_size;

    ngx_array_t                      policies;    /* _policy_t * */
    ngx_array_t                      providers;   /* _provider_t * */
    ngx_array_t                      chains;      /* _chain_t * */
    ngx_array_t                      passes;      /* _loc_conf_t * */

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

    ngx_flag_t                       headers;

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


/* a permit of the zone: which cell, which use of it, and the breaker's own */

typedef struct {
    uint32_t                         cell;
    uint32_t                         incarnation;
    res_permit_t                     permit;
    unsigned                         held:1;
    unsigned                         counted:1;  /* its success, at commit */
} ngx_http_resilience_ticket_t;


/* a line of the trace */

typedef struct {
    ngx_http_resilience_provider_t  *provider;
    res_outcome_e                    outcome;
    ngx_uint_t                       status;
    ngx_msec_t                       elapsed;
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

    ngx_uint_t                       number;     /* from 1 */
    ngx_msec_t                       started;
    ngx_msec_t                       seen;       /* last sign of life */

    res_outcome_e                    outcome;
    ngx_uint_t                       status;     /* HTTP, 0: none came */

    ngx_http_resilience_held_t       held;
    llm_sse_t                       *sse;        /* NULL: no event stream */

    unsigned                         header:1;   /* the header has come */
    unsigned                         body:1;     /* a byte that is no white
                                                    space has come */
    unsigned                         whole:1;    /* the body's end has come */
    unsigned                         terminal:1; /* the stream's mark, too */
    unsigned                         judged:1;   /* outcome is final */
    unsigned                         broken:1;   /* after commit */
    unsigned                         told:1;     /* the provider's own error
                                                    event was passed on */
    unsigned                         ended:1;    /* the client was told of
                                                    the end */
    unsigned                         overflow:1; /* more than could be held */
    unsigned                         unsent:1;   /* nothing was sent */
    unsigned                         stale:1;    /* a kept connection that the
                                                    provider had closed */
    unsigned                         failed_before:1;  /* not the call's first
                                                          failure */
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
    ngx_http_resilience_zone_t      *zone;

    ngx_str_t                        tenant;     /* as shown, <= 64 bytes */

    ngx_http_resilience_call_state_e state;
    ngx_event_t                      timer;      /* backoff */
    ngx_msec_t                       started;
    ngx_msec_t                       deadline;   /* 0: none */
    ngx_msec_t                       waited;
    ngx_msec_t                       first_byte; /* ms, when committed */

    ngx_uint_t                       step;       /* of the chain */
    ngx_uint_t                       retried;    /* on this step */
    ngx_uint_t                       attempts;
    ngx_msec_t                       backoff;    /* last wait */
    ngx_msec_t                       retry_after;/* until the earliest
                                                    half-open */
    ngx_uint_t                       least_open; /* the step with that */
    ngx_msec_t                       open_until; /* end of the wait for it,
                                                    0: none was begun */

    ngx_http_resilience_attempt_t   *attempt;    /* current or last */
    ngx_http_resilience_attempt_t   *winner;     /* NULL before commit */
    ngx_http_resilience_kept_t       kept;
    ngx_array_t                      trace;      /* _trace_t */

    res_outcome_e                    outcome;

    llm_json_scan_t                 *scan;       /* of the request's body */

    unsigned                         failed:1;   /* an attempt failed */
    unsigned                         resendable:1; /* method or key allows */
    unsigned                         no_fallback:1;
    unsigned                         names_headers:1; /* Connection does */
    unsigned                         resent:1;   /* after a stale connection,
                                                    on this step */
    unsigned                         refused:1;  /* an open breaker was met */
};


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
 * The credential as it is to be sent; looks at its file once a second at
 * most.  Empty: there is none, the provider is to be skipped.
 */
ngx_str_t *ngx_http_resilience_key_get(ngx_http_resilience_key_t *key,
    ngx_log_t *log);

/* ngx_http_resilience_zone.c */

char *ngx_http_resilience_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_http_resilience_zone_add(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf);

/*
 * Asks the breaker of (the call's tenant, provider) for a permit that is good
 * for lease ms.  On a refusal *wait is the ms until one may be had.
 */
res_admit_e ngx_http_resilience_zone_admit(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_msec_t lease,
    ngx_http_resilience_ticket_t *ticket, uint64_t *wait);

/* The same without asking; how the attempt ends is nothing to the breaker. */
void ngx_http_resilience_zone_force(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step, ngx_http_resilience_ticket_t *ticket);

/* The attempt is over: gives the permit back with how it ended. */
void ngx_http_resilience_zone_record(ngx_http_resilience_attempt_t *a,
    res_result_e result);

/*
 * The attempt began to answer: a half-open probe is judged now and not when a
 * long stream ends; from here on it is an ordinary attempt.
 */
void ngx_http_resilience_zone_commit(ngx_http_resilience_attempt_t *a);

/* ngx_http_resilience_call.c */

ngx_int_t ngx_http_resilience_handler(ngx_http_request_t *r);

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

/*
 * A write handler, while an answer is passed on: filters' subrequests that
 * came before what follows of it are over.
 */
void ngx_http_resilience_call_stream(ngx_http_request_t *r);

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

/* the call's attempt has ended: goes on, or ends it */
void ngx_http_resilience_route_on(ngx_http_resilience_call_t *call);

/* would this outcome be answered by another attempt, if one is left? */
ngx_uint_t ngx_http_resilience_route_moves_on(ngx_http_resilience_attempt_t *a,
    res_outcome_e outcome);

/* ngx_http_resilience_attempt.c */

ngx_int_t ngx_http_resilience_attempt_start(
    ngx_http_resilience_attempt_t *a);
void ngx_http_resilience_attempt_cancel(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_reason_e reason, res_outcome_e outcome);
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
ngx_int_t ngx_http_resilience_request_check(ngx_http_resilience_call_t *call);
ngx_int_t ngx_http_resilience_request_scan(ngx_http_resilience_call_t *call);

/* the model as sent in the attempt, or as asked for; empty: there is none */
void ngx_http_resilience_request_model_name(ngx_http_resilience_call_t *call,
    ngx_http_resilience_attempt_t *a, ngx_str_t *name);

/* ngx_http_resilience_answer.c */

/* the attempt's header becomes the client's */
ngx_int_t ngx_http_resilience_answer_header(ngx_http_resilience_attempt_t *a);

/* the end of an answer that was passed on, as it should be or broken */
ngx_int_t ngx_http_resilience_answer_end(ngx_http_resilience_attempt_t *a);

/* an error that was kept, or else one of our own; the call is spent */
ngx_int_t ngx_http_resilience_answer_spent(ngx_http_resilience_call_t *call,
    ngx_uint_t status);

ngx_int_t ngx_http_resilience_answer_error(ngx_http_resilience_call_t *call,
    ngx_uint_t status, const char *code, const char *message);

/* ngx_http_resilience_tenant.c */

char *ngx_http_resilience_tenant(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* NGX_OK, NGX_ERROR, or NGX_HTTP_UNAUTHORIZED */
ngx_int_t ngx_http_resilience_tenant_get(ngx_http_request_t *r,
    ngx_http_resilience_zone_t *zone, ngx_str_t *tenant);

/* ngx_http_resilience_variables.c */

ngx_int_t ngx_http_resilience_add_variables(ngx_conf_t *cf);

/* ngx_http_resilience_status.c */

char *ngx_http_resilience_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


#endif /* NGX_HTTP_RESILIENCE_H_INCLUDED */
