
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#ifndef NGX_HTTP_RESILIENCE_POLICY_H_INCLUDED
#define NGX_HTTP_RESILIENCE_POLICY_H_INCLUDED


#include "ngx_http_resilience.h"


/* what the readers of a policy's directives share */


typedef struct {
    ngx_http_resilience_policy_t       *policy;
    ngx_uint_t                          seen;    /* directives, bits */
    ngx_uint_t                          given;   /* parameters, bits below */
} ngx_http_resilience_policy_ctx_t;


typedef struct {
    ngx_str_t                           name;
    char                             *(*set)(ngx_conf_t *cf,
                                        ngx_http_resilience_policy_ctx_t *ctx);
    ngx_uint_t                          min;     /* parameters */
    ngx_uint_t                          max;
} ngx_http_resilience_policy_cmd_t;


typedef enum {
    NGX_HTTP_RESILIENCE_MSEC = 0,
    NGX_HTTP_RESILIENCE_NUMBER,
    NGX_HTTP_RESILIENCE_PERCENT
} ngx_http_resilience_unit_e;


typedef struct {
    ngx_str_t                           name;    /* with the "=" */
    ngx_http_resilience_unit_e          unit;
    ngx_uint_t                          given;
    ngx_int_t                           min;
    ngx_int_t                           max;
    size_t                              offset;  /* in the policy */
    size_t                              size;
} ngx_http_resilience_param_t;


#define ngx_http_resilience_field(field)                                      \
    offsetof(ngx_http_resilience_policy_t, field),                            \
    sizeof(((ngx_http_resilience_policy_t *) NULL)->field)


/* parameters, by their bits in "given" */

#define NGX_HTTP_RESILIENCE_CONNECT            0x00000001
#define NGX_HTTP_RESILIENCE_FIRST_BYTE         0x00000002
#define NGX_HTTP_RESILIENCE_IDLE               0x00000004
#define NGX_HTTP_RESILIENCE_ATTEMPT            0x00000008
#define NGX_HTTP_RESILIENCE_TOTAL              0x00000010
#define NGX_HTTP_RESILIENCE_BASE               0x00000020
#define NGX_HTTP_RESILIENCE_MAX                0x00000040
#define NGX_HTTP_RESILIENCE_FAILURES           0x00000080
#define NGX_HTTP_RESILIENCE_RATE               0x00000100
#define NGX_HTTP_RESILIENCE_WINDOW             0x00000200
#define NGX_HTTP_RESILIENCE_MIN_CALLS          0x00000400
#define NGX_HTTP_RESILIENCE_OPEN               0x00000800
#define NGX_HTTP_RESILIENCE_OPEN_MAX           0x00001000
#define NGX_HTTP_RESILIENCE_PROBES             0x00002000
#define NGX_HTTP_RESILIENCE_SUCCESSES          0x00004000
#define NGX_HTTP_RESILIENCE_RAMP               0x00008000
#define NGX_HTTP_RESILIENCE_SLOW_OVER          0x00010000
#define NGX_HTTP_RESILIENCE_SLOW_RATE          0x00020000
#define NGX_HTTP_RESILIENCE_TENANTS            0x00040000
#define NGX_HTTP_RESILIENCE_SHARE              0x00080000
#define NGX_HTTP_RESILIENCE_VOTES              0x00100000
#define NGX_HTTP_RESILIENCE_COMMON_OPEN        0x00200000
#define NGX_HTTP_RESILIENCE_COMMON_OPEN_MAX    0x00400000
#define NGX_HTTP_RESILIENCE_COMMON_PROBES      0x00800000
#define NGX_HTTP_RESILIENCE_COMMON_SUCCESSES   0x01000000
#define NGX_HTTP_RESILIENCE_HINT_MAX           0x02000000
#define NGX_HTTP_RESILIENCE_BUDGET_MIN         0x04000000
#define NGX_HTTP_RESILIENCE_AIMD_MIN           0x08000000
#define NGX_HTTP_RESILIENCE_AIMD_MAX           0x10000000
#define NGX_HTTP_RESILIENCE_AIMD_INITIAL       0x20000000
#define NGX_HTTP_RESILIENCE_AIMD_OVER          0x40000000

#define NGX_HTTP_RESILIENCE_DAYS(n)     ((n) * 24 * 60 * 60 * 1000)


/* ngx_http_resilience_policy.c */

/* sets the field of the parameter "name=value" that the table has, or errs */
ngx_int_t ngx_http_resilience_policy_param(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx, ngx_http_resilience_param_t *params,
    ngx_str_t *arg);

/* the same for all arguments of a directive from the n-th on */
char *ngx_http_resilience_policy_params(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx, ngx_http_resilience_param_t *params,
    ngx_uint_t n);

/* errs if an argument before the n-th has the same name before its "=" */
ngx_int_t ngx_http_resilience_policy_once(ngx_conf_t *cf, ngx_uint_t n);

/* ngx_http_resilience_policy_retry.c */

char *ngx_http_resilience_policy_retry(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
char *ngx_http_resilience_policy_retry_check(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);

/* ngx_http_resilience_policy_limits.c */

char *ngx_http_resilience_policy_hint(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
char *ngx_http_resilience_policy_budget(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
char *ngx_http_resilience_policy_deadline(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
char *ngx_http_resilience_policy_stop_before(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
char *ngx_http_resilience_policy_concurrency(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
char *ngx_http_resilience_policy_hedge(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);

/* ngx_http_resilience_policy_breaker.c */

char *ngx_http_resilience_policy_breaker(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
char *ngx_http_resilience_policy_slow(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
char *ngx_http_resilience_policy_common(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
char *ngx_http_resilience_policy_breaker_check(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);


#endif /* NGX_HTTP_RESILIENCE_POLICY_H_INCLUDED */
