
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_policy.h"


/* resilience_policy name { ... } */


static char *ngx_http_resilience_policy_directive(ngx_conf_t *cf,
    ngx_command_t *dummy, void *conf);
static char *ngx_http_resilience_policy_check(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
static char *ngx_http_resilience_policy_preset(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
static char *ngx_http_resilience_policy_timeout(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
static char *ngx_http_resilience_policy_timeout_check(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
static char *ngx_http_resilience_policy_retry_on(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
static char *ngx_http_resilience_policy_fallback_on(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
static char *ngx_http_resilience_policy_fail_on(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
static char *ngx_http_resilience_policy_non_idempotent(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);
static char *ngx_http_resilience_policy_classes(ngx_conf_t *cf,
    uint32_t *mask);


static ngx_http_resilience_policy_cmd_t  ngx_http_resilience_policy_cmds[] = {
    { ngx_string("preset"), ngx_http_resilience_policy_preset, 1, 1 },
    { ngx_string("timeout"), ngx_http_resilience_policy_timeout, 1, 5 },
    { ngx_string("retry"), ngx_http_resilience_policy_retry, 1, 6 },
    { ngx_string("retry_on"), ngx_http_resilience_policy_retry_on, 1, 20 },
    { ngx_string("fallback_on"),
      ngx_http_resilience_policy_fallback_on, 1, 20 },
    { ngx_string("fail_on"), ngx_http_resilience_policy_fail_on, 1, 20 },
    { ngx_string("retry_non_idempotent"),
      ngx_http_resilience_policy_non_idempotent, 1, 1 },
    { ngx_string("breaker"), ngx_http_resilience_policy_breaker, 1, 9 },
    { ngx_string("breaker_slow"), ngx_http_resilience_policy_slow, 1, 2 },
    { ngx_string("breaker_provider"),
      ngx_http_resilience_policy_common, 1, 7 },
    { ngx_string("deadline_header"),
      ngx_http_resilience_policy_deadline, 1, 1 },
    { ngx_string("stop_before"),
      ngx_http_resilience_policy_stop_before, 1, 1 },
    { ngx_string("retry_after"), ngx_http_resilience_policy_hint, 1, 1 },
    { ngx_string("retry_budget"), ngx_http_resilience_policy_budget, 1, 2 },
    { ngx_string("hedge"), ngx_http_resilience_policy_hedge, 1, 2 },
    { ngx_string("concurrency"),
      ngx_http_resilience_policy_concurrency, 1, 5 },
    { ngx_null_string, NULL, 0, 0 }
};


static ngx_http_resilience_param_t  ngx_http_resilience_timeout_params[] = {
    { ngx_string("connect="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_CONNECT, 0, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(connect) },
    { ngx_string("first_byte="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_FIRST_BYTE, 0, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(first_byte) },
    { ngx_string("idle="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_IDLE, 0, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(idle) },
    { ngx_string("attempt="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_ATTEMPT, 0, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(attempt) },
    { ngx_string("total="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_TOTAL, 0, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(total) },
    { ngx_null_string, 0, 0, 0, 0, 0, 0 }
};


char *
ngx_http_resilience_policy(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_resilience_main_conf_t *rmcf = conf;

    char                              *rv;
    ngx_str_t                         *value;
    ngx_conf_t                         save;
    ngx_http_resilience_policy_t      *policy, **slot;
    ngx_http_resilience_policy_ctx_t   ctx;

    value = cf->args->elts;

    if (ngx_http_resilience_policy_find(rmcf, &value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate policy \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    policy = ngx_pcalloc(cf->pool, sizeof(ngx_http_resilience_policy_t));
    slot = ngx_array_push(&rmcf->policies);

    if (policy == NULL || slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = policy;

    ngx_http_resilience_preset_default(policy);
    policy->name = value[1];

    ngx_memzero(&ctx, sizeof(ngx_http_resilience_policy_ctx_t));
    ctx.policy = policy;

    save = *cf;
    cf->handler = ngx_http_resilience_policy_directive;
    cf->handler_conf = (void *) &ctx;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_resilience_policy_check(cf, &ctx);
}


ngx_http_resilience_policy_t *
ngx_http_resilience_policy_find(ngx_http_resilience_main_conf_t *rmcf,
    ngx_str_t *name)
{
    ngx_uint_t                      i;
    ngx_http_resilience_policy_t  **policies;

    policies = rmcf->policies.elts;

    for (i = 0; i < rmcf->policies.nelts; i++) {
        if (policies[i]->name.len == name->len
            && ngx_memcmp(policies[i]->name.data, name->data, name->len) == 0)
        {
            return policies[i];
        }
    }

    return NULL;
}


static char *
ngx_http_resilience_policy_directive(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf)
{
    ngx_str_t                         *value;
    ngx_uint_t                         i;
    ngx_http_resilience_policy_cmd_t  *cmd;
    ngx_http_resilience_policy_ctx_t  *ctx;

    ctx = cf->handler_conf;
    value = cf->args->elts;

    for (i = 0; /* void */; i++) {
        cmd = &ngx_http_resilience_policy_cmds[i];

        if (cmd->name.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "unknown directive \"%V\" in policy \"%V\"",
                               &value[0], &ctx->policy->name);
            return NGX_CONF_ERROR;
        }

        if (cmd->name.len == value[0].len
            && ngx_strcmp(cmd->name.data, value[0].data) == 0)
        {
            break;
        }
    }

    if (ctx->seen & ((ngx_uint_t) 1 << i)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" directive is duplicate in policy \"%V\"",
                           &value[0], &ctx->policy->name);
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts - 1 < cmd->min || cf->args->nelts - 1 > cmd->max) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of arguments in \"%V\" directive "
                           "of policy \"%V\"", &value[0], &ctx->policy->name);
        return NGX_CONF_ERROR;
    }

    if (cmd->set == ngx_http_resilience_policy_preset && ctx->seen) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"preset\" must be the first directive "
                           "of policy \"%V\"", &ctx->policy->name);
        return NGX_CONF_ERROR;
    }

    ctx->seen |= (ngx_uint_t) 1 << i;

    return cmd->set(cf, ctx);
}


static char *
ngx_http_resilience_policy_check(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    if (ngx_http_resilience_policy_timeout_check(cf, ctx) != NGX_CONF_OK
        || ngx_http_resilience_policy_retry_check(cf, ctx) != NGX_CONF_OK
        || ngx_http_resilience_policy_breaker_check(cf, ctx) != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_policy_preset(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    u_char      *p;
    u_char       list[256];
    ngx_str_t   *value;

    value = cf->args->elts;

    if (ngx_http_resilience_preset_apply(ctx->policy, &value[1]) == NGX_OK) {
        return NGX_CONF_OK;
    }

    p = ngx_http_resilience_preset_list(list, list + sizeof(list));

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown preset \"%V\", there are:%*s", &value[1],
                       (size_t) (p - list), list);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_resilience_policy_timeout(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    return ngx_http_resilience_policy_params(cf, ctx,
                                        ngx_http_resilience_timeout_params, 1);
}


static char *
ngx_http_resilience_policy_timeout_check(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    ngx_http_resilience_policy_t  *policy;

    policy = ctx->policy;

    /* a limit that only the preset gave yields to one that was said */

    if (policy->total && policy->attempt > policy->total
        && !(ctx->given & NGX_HTTP_RESILIENCE_ATTEMPT))
    {
        policy->attempt = policy->total;
    }

    if (policy->attempt) {

        if (policy->first_byte > policy->attempt
            && !(ctx->given & NGX_HTTP_RESILIENCE_FIRST_BYTE))
        {
            policy->first_byte = policy->attempt;
        }

        if (policy->connect > policy->attempt
            && !(ctx->given & NGX_HTTP_RESILIENCE_CONNECT))
        {
            policy->connect = policy->attempt;
        }

        if (policy->first_byte > policy->attempt) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"first_byte=%Mms\" is longer than "
                               "\"attempt=%Mms\" in policy \"%V\", "
                               "it must be at most as long",
                               policy->first_byte, policy->attempt,
                               &policy->name);
            return NGX_CONF_ERROR;
        }

        if (policy->connect > policy->attempt) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"connect=%Mms\" is longer than "
                               "\"attempt=%Mms\" in policy \"%V\", "
                               "it must be at most as long",
                               policy->connect, policy->attempt,
                               &policy->name);
            return NGX_CONF_ERROR;
        }
    }

    if (policy->total && policy->attempt > policy->total) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "\"attempt=%Mms\" does not fit in \"total=%Mms\" "
                           "in policy \"%V\", attempts will be cut short",
                           policy->attempt, policy->total, &policy->name);
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_policy_retry_on(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    return ngx_http_resilience_policy_classes(cf, &ctx->policy->retry_on);
}


static char *
ngx_http_resilience_policy_fallback_on(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    return ngx_http_resilience_policy_classes(cf, &ctx->policy->fallback_on);
}


static char *
ngx_http_resilience_policy_fail_on(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    return ngx_http_resilience_policy_classes(cf, &ctx->policy->fail_on);
}


static char *
ngx_http_resilience_policy_classes(ngx_conf_t *cf, uint32_t *mask)
{
    int         outcome;
    ngx_str_t  *value;
    ngx_uint_t  i;

    value = cf->args->elts;
    *mask = 0;

    for (i = 1; i < cf->args->nelts; i++) {

        if (cf->args->nelts == 2 && ngx_strcmp(value[i].data, "none") == 0) {
            break;
        }

        outcome = res_outcome_parse((char *) value[i].data, value[i].len);

        if (outcome == -1) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "unknown outcome class \"%V\" in \"%V\"",
                               &value[i], &value[0]);
            return NGX_CONF_ERROR;
        }

        if (outcome == RES_SUCCESS || outcome == RES_CLIENT_ABORT
            || outcome == RES_CANCELLED || outcome == RES_SHUTDOWN
            || outcome == RES_STALE)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "outcome class \"%V\" cannot be in \"%V\", "
                               "there is nothing left to be done then",
                               &value[i], &value[0]);
            return NGX_CONF_ERROR;
        }

        *mask |= res_bit(outcome);
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_policy_non_idempotent(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "on") == 0) {
        ctx->policy->non_idempotent = 1;

    } else if (ngx_strcmp(value[1].data, "off") == 0) {
        ctx->policy->non_idempotent = 0;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\" directive, "
                           "it must be \"on\" or \"off\"",
                           &value[1], &value[0]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_resilience_policy_params(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx, ngx_http_resilience_param_t *params,
    ngx_uint_t n)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    for ( /* void */ ; n < cf->args->nelts; n++) {
        if (ngx_http_resilience_policy_once(cf, n) != NGX_OK
            || ngx_http_resilience_policy_param(cf, ctx, params, &value[n])
               != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_resilience_policy_once(ngx_conf_t *cf, ngx_uint_t n)
{
    u_char      *p;
    size_t       len;
    ngx_str_t   *value;
    ngx_uint_t   i;

    value = cf->args->elts;

    p = (u_char *) ngx_strchr(value[n].data, '=');

    if (p == NULL) {
        return NGX_OK;
    }

    len = p + 1 - value[n].data;

    for (i = 1; i < n; i++) {
        if (value[i].len >= len
            && ngx_strncmp(value[i].data, value[n].data, len) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\" in \"%V\" "
                               "directive", &value[n], &value[0]);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_resilience_policy_param(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx, ngx_http_resilience_param_t *params,
    ngx_str_t *arg)
{
    u_char                       *field;
    ngx_int_t                     n;
    ngx_str_t                     s, *directive;
    u_char                        range[64];
    ngx_http_resilience_param_t  *p;

    static const char  *units[] = {
        "a time from %i to %i ms",
        "a number from %i to %i",
        "a percentage from %i to %i"
    };

    directive = cf->args->elts;

    for (p = params; p->name.len; p++) {
        if (arg->len >= p->name.len
            && ngx_strncmp(arg->data, p->name.data, p->name.len) == 0)
        {
            break;
        }
    }

    if (p->name.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in \"%V\" directive "
                           "of policy \"%V\"", arg, directive,
                           &ctx->policy->name);
        return NGX_ERROR;
    }

    ctx->given |= p->given;

    s.len = arg->len - p->name.len;
    s.data = arg->data + p->name.len;

    if (p->unit == NGX_HTTP_RESILIENCE_MSEC) {
        n = ngx_parse_time(&s, 0);

    } else {
        if (p->unit == NGX_HTTP_RESILIENCE_PERCENT
            && s.len && s.data[s.len - 1] == '%')
        {
            s.len--;
        }

        n = ngx_atoi(s.data, s.len);
    }

    if (n == NGX_ERROR || n < p->min || n > p->max) {

        *ngx_snprintf(range, sizeof(range) - 1, units[p->unit], p->min, p->max)
            = '\0';

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\" in \"%V\" directive of "
                           "policy \"%V\", it must be %s", arg, directive,
                           &ctx->policy->name, range);
        return NGX_ERROR;
    }

    field = (u_char *) ctx->policy + p->offset;

    if (p->size == sizeof(uint32_t)) {
        *(uint32_t *) field = (uint32_t) n;

    } else {
        *(ngx_msec_t *) field = (ngx_msec_t) n;
    }

    return NGX_OK;
}
