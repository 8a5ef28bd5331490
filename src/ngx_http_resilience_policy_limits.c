
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_policy.h"


/*
 * retry_after, retry_budget, deadline_header, stop_before, concurrency, hedge
 */


static ngx_int_t ngx_http_resilience_policy_off(ngx_conf_t *cf);


static ngx_http_resilience_param_t  ngx_http_resilience_hint_params[] = {
    { ngx_string("max="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_HINT_MAX, 0, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(hint_max) },
    { ngx_null_string, 0, 0, 0, 0, 0, 0 }
};


static ngx_http_resilience_param_t  ngx_http_resilience_budget_params[] = {
    { ngx_string("min="), NGX_HTTP_RESILIENCE_NUMBER,
      NGX_HTTP_RESILIENCE_BUDGET_MIN, 0, 1000000,
      ngx_http_resilience_field(budget.min) },
    { ngx_null_string, 0, 0, 0, 0, 0, 0 }
};


static ngx_http_resilience_param_t  ngx_http_resilience_aimd_params[] = {
    { ngx_string("min="), NGX_HTTP_RESILIENCE_NUMBER,
      NGX_HTTP_RESILIENCE_AIMD_MIN, 1, RES_AIMD_MAX,
      ngx_http_resilience_field(aimd.min) },
    { ngx_string("max="), NGX_HTTP_RESILIENCE_NUMBER,
      NGX_HTTP_RESILIENCE_AIMD_MAX, 1, RES_AIMD_MAX,
      ngx_http_resilience_field(aimd.max) },
    { ngx_string("initial="), NGX_HTTP_RESILIENCE_NUMBER,
      NGX_HTTP_RESILIENCE_AIMD_INITIAL, 1, RES_AIMD_MAX,
      ngx_http_resilience_field(aimd.initial) },
    { ngx_string("over="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_AIMD_OVER, 0, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(aimd.latency_over) },
    { ngx_null_string, 0, 0, 0, 0, 0, 0 }
};


char *
ngx_http_resilience_policy_hint(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    if (ngx_http_resilience_policy_off(cf) == NGX_OK) {
        ctx->policy->hints = 0;
        return NGX_CONF_OK;
    }

    return ngx_http_resilience_policy_params(cf, ctx,
                                           ngx_http_resilience_hint_params, 1);
}


char *
ngx_http_resilience_policy_budget(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    ngx_int_t                      n;
    ngx_str_t                     *value;
    ngx_http_resilience_policy_t  *policy;

    value = cf->args->elts;
    policy = ctx->policy;

    if (ngx_http_resilience_policy_off(cf) == NGX_OK) {
        return NGX_CONF_OK;
    }

    n = NGX_ERROR;

    if (value[1].len > 1 && value[1].data[value[1].len - 1] == '%') {
        n = ngx_atoi(value[1].data, value[1].len - 1);
    }

    if (n == NGX_ERROR || n > 100) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid share \"%V\" in \"%V\" directive of "
                           "policy \"%V\", it must be from 0%% to 100%%",
                           &value[1], &value[0], &policy->name);
        return NGX_CONF_ERROR;
    }

    policy->budgeted = 1;
    policy->budget.percent = n;
    policy->budget.min = 3;

    return ngx_http_resilience_policy_params(cf, ctx,
                                         ngx_http_resilience_budget_params, 2);
}


char *
ngx_http_resilience_policy_deadline(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    u_char      ch;
    ngx_str_t  *value, *name;
    ngx_uint_t  i;

    value = cf->args->elts;
    name = &ctx->policy->deadline_header;

    /* the name is a C string, too */

    name->len = value[1].len;
    name->data = ngx_pnalloc(cf->pool, name->len + 1);

    if (name->data == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_strlow(name->data, value[1].data, name->len + 1);

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if ((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9')
            || ch == '-' || ch == '_')
        {
            continue;
        }

        break;
    }

    if (name->len == 0 || i < name->len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid header name \"%V\" in \"%V\" directive "
                           "of policy \"%V\"", &value[1], &value[0],
                           &ctx->policy->name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_resilience_policy_stop_before(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    ngx_int_t   n;
    ngx_str_t  *value;

    value = cf->args->elts;

    n = ngx_parse_time(&value[1], 0);

    if (n == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\" in \"%V\" directive of "
                           "policy \"%V\"", &value[1], &value[0],
                           &ctx->policy->name);
        return NGX_CONF_ERROR;
    }

    ctx->policy->stop_before = n;

    return NGX_CONF_OK;
}


char *
ngx_http_resilience_policy_concurrency(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    ngx_int_t                      n;
    ngx_str_t                     *value;
    res_aimd_conf_t               *aimd;
    ngx_http_resilience_policy_t  *policy;

    value = cf->args->elts;
    policy = ctx->policy;
    aimd = &policy->aimd;

    if (ngx_strcmp(value[1].data, "adaptive") != 0) {

        n = ngx_atoi(value[1].data, value[1].len);

        if (n == NGX_ERROR || n > 1000000 || cf->args->nelts > 2) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid \"concurrency\" of policy \"%V\", "
                               "use a number from 0 to 1000000 or "
                               "\"adaptive\"", &policy->name);
            return NGX_CONF_ERROR;
        }

        policy->concurrency = n;

        return NGX_CONF_OK;
    }

    policy->adaptive = 1;

    aimd->min = 1;
    aimd->max = 1000;
    aimd->initial = 20;
    aimd->backoff = 900;

    if (ngx_http_resilience_policy_params(cf, ctx,
                                          ngx_http_resilience_aimd_params, 2)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (!(ctx->given & NGX_HTTP_RESILIENCE_AIMD_INITIAL)) {
        aimd->initial = ngx_max(aimd->min, ngx_min(aimd->initial, aimd->max));
    }

    if (aimd->min > aimd->max || aimd->initial < aimd->min
        || aimd->initial > aimd->max)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"min=%uD\", \"initial=%uD\" and \"max=%uD\" of "
                           "\"concurrency\" in policy \"%V\" must rise",
                           aimd->min, aimd->initial, aimd->max, &policy->name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_resilience_policy_hedge(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    ngx_int_t                      n;
    ngx_str_t                     *value, s;
    ngx_uint_t                     i;
    ngx_http_resilience_policy_t  *policy;

    value = cf->args->elts;
    policy = ctx->policy;

    if (ngx_http_resilience_policy_off(cf) == NGX_OK) {
        return NGX_CONF_OK;
    }

    policy->hedge_max = 1;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_http_resilience_policy_once(cf, i) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        if (ngx_strcmp(value[i].data, "after=p95") == 0) {
            policy->hedge_p95 = 1;
            continue;
        }

        if (ngx_strncmp(value[i].data, "after=", 6) == 0) {

            s.data = value[i].data + 6;
            s.len = value[i].len - 6;

            n = ngx_parse_time(&s, 0);

            if (n != NGX_ERROR && n > 0) {
                policy->hedge_after = n;
                continue;
            }

        } else if (ngx_strncmp(value[i].data, "max=", 4) == 0) {

            n = ngx_atoi(value[i].data + 4, value[i].len - 4);

            if (n >= 1 && n <= 10) {
                policy->hedge_max = n;
                continue;
            }
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"%V\" in \"hedge\" of policy \"%V\", use "
                           "\"after=time\" or \"after=p95\", and \"max=\" from "
                           "1 to 10", &value[i], &policy->name);
        return NGX_CONF_ERROR;
    }

    if (policy->hedge_after == 0 && !policy->hedge_p95) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"hedge\" of policy \"%V\" needs \"after=time\" or "
                           "\"after=p95\"", &policy->name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_resilience_policy_off(ngx_conf_t *cf)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    return (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0)
               ? NGX_OK : NGX_DECLINED;
}
