
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_policy.h"


/* retry n base=... max=... factor=... jitter=... strategy=...; */


static char *ngx_http_resilience_policy_jitter(ngx_conf_t *cf, ngx_str_t *arg,
    res_backoff_t *backoff);
static char *ngx_http_resilience_policy_strategy(ngx_conf_t *cf,
    ngx_str_t *arg, res_backoff_t *backoff);
static char *ngx_http_resilience_policy_factor(ngx_conf_t *cf, ngx_str_t *arg,
    res_backoff_t *backoff);


static ngx_http_resilience_param_t  ngx_http_resilience_retry_params[] = {
    { ngx_string("base="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_BASE, 0, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(backoff.base) },
    { ngx_string("max="), NGX_HTTP_RESILIENCE_MSEC,
      NGX_HTTP_RESILIENCE_MAX, 0, NGX_HTTP_RESILIENCE_DAYS(1),
      ngx_http_resilience_field(backoff.max) },
    { ngx_null_string, 0, 0, 0, 0, 0, 0 }
};


char *
ngx_http_resilience_policy_retry(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    char                          *rv;
    ngx_int_t                      n;
    ngx_str_t                     *value;
    ngx_uint_t                     i;
    ngx_http_resilience_policy_t  *policy;

    value = cf->args->elts;
    policy = ctx->policy;

    n = ngx_atoi(value[1].data, value[1].len);

    if (n == NGX_ERROR || n > 100) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of retries \"%V\", "
                           "it must be from 0 to 100", &value[1]);
        return NGX_CONF_ERROR;
    }

    policy->retries = n;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_http_resilience_policy_once(cf, i) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        if (ngx_strncmp(value[i].data, "jitter=", 7) == 0) {
            rv = ngx_http_resilience_policy_jitter(cf, &value[i],
                                                   &policy->backoff);

        } else if (ngx_strncmp(value[i].data, "strategy=", 9) == 0) {
            rv = ngx_http_resilience_policy_strategy(cf, &value[i],
                                                     &policy->backoff);

        } else if (ngx_strncmp(value[i].data, "factor=", 7) == 0) {
            rv = ngx_http_resilience_policy_factor(cf, &value[i],
                                                   &policy->backoff);

        } else if (ngx_http_resilience_policy_param(cf, ctx,
                                            ngx_http_resilience_retry_params,
                                            &value[i])
                   == NGX_OK)
        {
            rv = NGX_CONF_OK;

        } else {
            rv = NGX_CONF_ERROR;
        }

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_policy_jitter(ngx_conf_t *cf, ngx_str_t *arg,
    res_backoff_t *backoff)
{
    ngx_int_t   n;
    ngx_str_t   s;
    ngx_uint_t  i;

    static struct {
        ngx_str_t     name;
        res_jitter_e  jitter;
    } jitters[] = {
        { ngx_string("full"), RES_JITTER_FULL },
        { ngx_string("none"), RES_JITTER_NONE },
        { ngx_string("equal"), RES_JITTER_EQUAL },
        { ngx_string("decorrelated"), RES_JITTER_DECORRELATED }
    };

    s.len = arg->len - (sizeof("jitter=") - 1);
    s.data = arg->data + sizeof("jitter=") - 1;

    for (i = 0; i < sizeof(jitters) / sizeof(jitters[0]); i++) {
        if (s.len == jitters[i].name.len
            && ngx_strcmp(s.data, jitters[i].name.data) == 0)
        {
            backoff->jitter = jitters[i].jitter;
            return NGX_CONF_OK;
        }
    }

    /* "±30%", in UTF-8, or "+-30%" */

    if (s.len > 3
        && (ngx_strncmp(s.data, "\xc2\xb1", 2) == 0
            || ngx_strncmp(s.data, "+-", 2) == 0)
        && s.data[s.len - 1] == '%')
    {
        n = ngx_atoi(s.data + 2, s.len - 3);

        if (n >= 1 && n <= 100) {
            backoff->jitter = RES_JITTER_SPREAD;
            backoff->spread = n;
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid jitter \"%V\", use none, full, equal, "
                       "decorrelated or a spread such as +-30%%", &s);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_resilience_policy_strategy(ngx_conf_t *cf, ngx_str_t *arg,
    res_backoff_t *backoff)
{
    u_char  *s;

    s = arg->data + sizeof("strategy=") - 1;

    if (ngx_strcmp(s, "exponential") == 0) {
        backoff->strategy = RES_BACKOFF_EXPONENTIAL;

    } else if (ngx_strcmp(s, "linear") == 0) {
        backoff->strategy = RES_BACKOFF_LINEAR;

    } else if (ngx_strcmp(s, "constant") == 0) {
        backoff->strategy = RES_BACKOFF_CONSTANT;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid strategy \"%s\", use exponential, "
                           "linear or constant", s);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_policy_factor(ngx_conf_t *cf, ngx_str_t *arg,
    res_backoff_t *backoff)
{
    ngx_int_t  n;

    n = ngx_atofp(arg->data + sizeof("factor=") - 1,
                  arg->len - (sizeof("factor=") - 1), 3);

    if (n < 1000 || n > 100000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"%V\", a factor is from 1 to 100", arg);
        return NGX_CONF_ERROR;
    }

    backoff->factor = n;

    return NGX_CONF_OK;
}


char *
ngx_http_resilience_policy_retry_check(ngx_conf_t *cf,
    ngx_http_resilience_policy_ctx_t *ctx)
{
    ngx_http_resilience_policy_t  *policy;

    policy = ctx->policy;

    if (policy->backoff.max && policy->backoff.base > policy->backoff.max) {

        if ((ctx->given & NGX_HTTP_RESILIENCE_BASE)
            && (ctx->given & NGX_HTTP_RESILIENCE_MAX))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"base=%uDms\" is longer than \"max=%uDms\" "
                               "in policy \"%V\"", policy->backoff.base,
                               policy->backoff.max, &policy->name);
            return NGX_CONF_ERROR;
        }

        if (ctx->given & NGX_HTTP_RESILIENCE_MAX) {
            policy->backoff.base = policy->backoff.max;

        } else {
            policy->backoff.max = policy->backoff.base;
        }
    }

    return NGX_CONF_OK;
}
