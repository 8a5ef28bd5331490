
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_policy.h"


/* breaker, breaker_slow, breaker_provider */


static char *ngx_http_resilience_policy_common_check(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx);


static ngx_http_resilience_param_t  ngx_http_resilience_breaker_params[] = {
    { ngx_string("failures="), NGX_HTTP_RESILIENCE_NUMBER,
      NGX_HTTP_RESILIENCE_FAILURES, 0, 1000000,
      ngx_http_resilience_field(breaker.failures) },
    { ngx_string("error_rate="), NGX_HTTP_RESILIENCE_PERCENT,
      NGX_HTTP_RESILIENCE_RATE, 0, 100,
      ngx_http_resilience_field(breaker.error_rate) },
    { ngx_string("window="), NGX_HTTP_RESILIENCE_NUMBER,
      NGX_HTTP_RESILIENCE_WINDOW, 1, RES_BREAKER_WINDOW,
      ngx_http_resilience_field(breaker.window) },
    { ngx_string("min_calls="), NGX_HTTP_RESILIENCE_NUMBER,
      NGX_HTTP_RESILIENCE_MIN_CALLS, 1, RES_BREAKER_WINDOW,
      ngx_http_resilience_field(breaker.min_calls) },
    { ngx_string("open="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_OPEN, 1, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(breaker.open) },
    { ngx_string("open_max="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_OPEN_MAX, 1, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(breaker.open_max) },
    { ngx_string("probes="), NGX_HTTP_RESILIENCE_NUMBER,
      NGX_HTTP_RESILIENCE_PROBES, 1, RES_BREAKER_PROBES,
      ngx_http_resilience_field(breaker.probes) },
    { ngx_string("successes="), NGX_HTTP_RESILIENCE_NUMBER,
      NGX_HTTP_RESILIENCE_SUCCESSES, 1, 255,
      ngx_http_resilience_field(breaker.successes) },
    { ngx_string("ramp="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_RAMP, 0, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(breaker.ramp) },
    { ngx_null_string, 0, 0, 0, 0, 0, 0 }
};


static ngx_http_resilience_param_t  ngx_http_resilience_slow_params[] = {
    { ngx_string("over="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_SLOW_OVER, 1, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(slow) },
    { ngx_string("rate="), NGX_HTTP_RESILIENCE_PERCENT,
      NGX_HTTP_RESILIENCE_SLOW_RATE, 1, 100,
      ngx_http_resilience_field(breaker.slow_rate) },
    { ngx_null_string, 0, 0, 0, 0, 0, 0 }
};


static ngx_http_resilience_param_t  ngx_http_resilience_common_params[] = {
    { ngx_string("tenants="), NGX_HTTP_RESILIENCE_NUMBER,
      NGX_HTTP_RESILIENCE_TENANTS, 2, RES_QUORUM_VOTES / 2,
      ngx_http_resilience_field(quorum.tenants) },
    { ngx_string("share="), NGX_HTTP_RESILIENCE_PERCENT,
      NGX_HTTP_RESILIENCE_SHARE, 0, 100,
      ngx_http_resilience_field(quorum.share) },
    { ngx_string("window="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_VOTES, 1, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(quorum.window) },
    { ngx_string("open="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_COMMON_OPEN, 1, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(common.open) },
    { ngx_string("open_max="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_COMMON_OPEN_MAX, 1, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(common.open_max) },
    { ngx_string("probes="), NGX_HTTP_RESILIENCE_NUMBER,
      NGX_HTTP_RESILIENCE_COMMON_PROBES, 1, RES_BREAKER_PROBES,
      ngx_http_resilience_field(common.probes) },
    { ngx_string("successes="), NGX_HTTP_RESILIENCE_NUMBER,
      NGX_HTTP_RESILIENCE_COMMON_SUCCESSES, 1, 255,
      ngx_http_resilience_field(common.successes) },
    { ngx_null_string, 0, 0, 0, 0, 0, 0 }
};


char *
ngx_http_resilience_policy_breaker(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        ctx->policy->breaker.off = 1;
        return NGX_CONF_OK;
    }

    return ngx_http_resilience_policy_params(cf, ctx,
                                        ngx_http_resilience_breaker_params, 1);
}


char *
ngx_http_resilience_policy_slow(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    ctx->policy->breaker.slow_rate = 50;

    if (ngx_http_resilience_policy_params(cf, ctx,
                                          ngx_http_resilience_slow_params, 1)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (ctx->policy->slow == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"breaker_slow\" of policy \"%V\" needs "
                           "\"over=time\"", &ctx->policy->name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* the breaker for all tenants of a provider */

char *
ngx_http_resilience_policy_common(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        return NGX_CONF_OK;
    }

    ctx->policy->quorum.share = 50;
    ctx->policy->quorum.window = 10000;

    if (ngx_http_resilience_policy_params(cf, ctx,
                                          ngx_http_resilience_common_params, 1)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (ctx->policy->quorum.tenants == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"breaker_provider\" of policy \"%V\" needs "
                           "\"tenants=number\"", &ctx->policy->name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_resilience_policy_breaker_check(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    res_breaker_conf_t            *breaker;
    ngx_http_resilience_policy_t  *policy;

    policy = ctx->policy;
    breaker = &policy->breaker;

    if (breaker->min_calls > breaker->window
        && !(ctx->given & NGX_HTTP_RESILIENCE_MIN_CALLS))
    {
        breaker->min_calls = breaker->window;
    }

    if (breaker->min_calls > breaker->window) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"min_calls=%uD\" is more than \"window=%uD\" "
                           "in policy \"%V\", the window would never be "
                           "looked at", breaker->min_calls, breaker->window,
                           &policy->name);
        return NGX_CONF_ERROR;
    }

    if ((ctx->given & NGX_HTTP_RESILIENCE_OPEN)
        && !(ctx->given & NGX_HTTP_RESILIENCE_OPEN_MAX))
    {
        breaker->open_max = 10 * ngx_min(breaker->open, UINT32_MAX / 10);
    }

    if (breaker->open > breaker->open_max) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"open=%uDms\" is longer than \"open_max=%uDms\" "
                           "in policy \"%V\"", breaker->open,
                           breaker->open_max, &policy->name);
        return NGX_CONF_ERROR;
    }

    if (!breaker->off && breaker->failures == 0 && breaker->error_rate == 0
        && breaker->slow_rate == 0 && policy->quorum.tenants == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "with \"failures=0\" and \"error_rate=0\" the "
                           "breaker of policy \"%V\" would never open, "
                           "use \"breaker off\"", &policy->name);
        return NGX_CONF_ERROR;
    }

    if (policy->slow && breaker->off) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"breaker_slow\" of policy \"%V\" is for a "
                           "breaker, and that is off", &policy->name);
        return NGX_CONF_ERROR;
    }

    if (policy->slow && policy->attempt && policy->slow >= policy->attempt) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"over=%Mms\" is not shorter than "
                           "\"attempt=%Mms\" in policy \"%V\", no attempt "
                           "could ever be that slow", policy->slow,
                           policy->attempt, &policy->name);
        return NGX_CONF_ERROR;
    }

    return ngx_http_resilience_policy_common_check(cf, ctx);
}


/* what it doesn't say for itself is as the tenants' breakers have it */

static char *
ngx_http_resilience_policy_common_check(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    res_breaker_conf_t            *common;
    ngx_http_resilience_policy_t  *policy;

    policy = ctx->policy;
    common = &policy->common;

    common->window = 1;
    common->min_calls = 1;

    if (!(ctx->given & NGX_HTTP_RESILIENCE_COMMON_PROBES)) {
        common->probes = policy->breaker.probes;
    }

    if (!(ctx->given & NGX_HTTP_RESILIENCE_COMMON_SUCCESSES)) {
        common->successes = policy->breaker.successes;
    }

    if (!(ctx->given & NGX_HTTP_RESILIENCE_COMMON_OPEN)) {
        common->open = policy->breaker.open;
    }

    if (!(ctx->given & NGX_HTTP_RESILIENCE_COMMON_OPEN_MAX)) {
        common->open_max = 10 * ngx_min(common->open, UINT32_MAX / 10);
    }

    if (common->open > common->open_max) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"open=%uDms\" is longer than \"open_max=%uDms\" "
                           "in \"breaker_provider\" of policy \"%V\"",
                           common->open, common->open_max, &policy->name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
