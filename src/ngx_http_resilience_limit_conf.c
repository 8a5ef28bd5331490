
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_limit.h"


/*
 * resilience_limit: what is limited, how much of it, and by whom it is counted.
 *
 * A limit is known by its name.  Where one name is written twice it is one
 * limit, with one state, and must be the same limit.
 */


#define NGX_HTTP_RESILIENCE_LIMIT_AGES  (10 * 366)     /* days */


static char *ngx_http_resilience_limit_kind(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_resilience_limit_t *limit);
static char *ngx_http_resilience_limit_parameter(ngx_conf_t *cf,
    ngx_str_t *value, ngx_http_resilience_limit_t *limit);
static char *ngx_http_resilience_limit_rate(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_resilience_limit_t *limit);
static char *ngx_http_resilience_limit_burst(ngx_conf_t *cf,
    ngx_http_resilience_limit_t *limit);
static char *ngx_http_resilience_limit_name(ngx_conf_t *cf, ngx_str_t *name);
static char *ngx_http_resilience_limit_key(ngx_conf_t *cf,
    ngx_http_resilience_limit_t *limit);
static ngx_http_resilience_limit_t *ngx_http_resilience_limit_known(
    ngx_conf_t *cf, ngx_http_resilience_limit_t *limit);
static ngx_uint_t ngx_http_resilience_limit_equal(ngx_str_t *a, ngx_str_t *b);
static ngx_int_t ngx_http_resilience_limit_number(u_char *p, size_t len,
    ngx_uint_t tokens);


static struct {
    u_char      unit;
    uint32_t    period;     /* ms */
} ngx_http_resilience_periods[] = {
    { 's', 1000 },
    { 'm', 60 * 1000 },
    { 'h', 3600 * 1000 },
    { 'd', 24 * 3600 * 1000 },
    { 0, 0 }
};


char *
ngx_http_resilience_limit(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_resilience_loc_conf_t *rlcf = conf;

    ngx_str_t                     *value;
    ngx_uint_t                     i;
    ngx_http_resilience_limit_t    new, *limit, **limits;

    if (rlcf->provider) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" directive limits clients, write it beside "
                           "\"resilience_pass\" and not in a provider",
                           &cmd->name);
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    ngx_memzero(&new, sizeof(ngx_http_resilience_limit_t));

    if (ngx_http_resilience_limit_kind(cf, &value[1], &new) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_http_resilience_limit_parameter(cf, &value[i], &new)
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_http_resilience_limit_burst(cf, &new) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    limit = ngx_http_resilience_limit_known(cf, &new);
    if (limit == NULL) {
        return NGX_CONF_ERROR;
    }

    if (rlcf->limits == NULL) {
        rlcf->limits = ngx_array_create(cf->pool, 2, sizeof(void *));
        if (rlcf->limits == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    limits = rlcf->limits->elts;

    for (i = 0; i < rlcf->limits->nelts; i++) {
        if (limits[i] == limit) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "limit \"%V\" is twice in this block",
                               &limit->name);
            return NGX_CONF_ERROR;
        }
    }

    limits = ngx_array_push(rlcf->limits);
    if (limits == NULL) {
        return NGX_CONF_ERROR;
    }

    *limits = limit;

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_limit_kind(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_resilience_limit_t *limit)
{
    if (ngx_strcmp(value->data, "requests") != 0
        && ngx_strcmp(value->data, "tokens") != 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" cannot be limited, use \"requests\" or "
                           "\"tokens\"", value);
        return NGX_CONF_ERROR;
    }

    limit->kind = *value;
    limit->tokens = (value->data[0] == 't');

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_limit_parameter(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_resilience_limit_t *limit)
{
    ngx_str_t   *to, rest;
    ngx_uint_t   i;

    struct {
        ngx_str_t   name;
        ngx_str_t  *to;
    } parameters[] = {
        { ngx_string("rate="), &limit->rate },
        { ngx_string("burst="), &limit->burst },
        { ngx_string("key="), &limit->key_text },
        { ngx_string("name="), &limit->name }
    };

    for (i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {

        if (value->len < parameters[i].name.len
            || ngx_strncmp(value->data, parameters[i].name.data,
                           parameters[i].name.len)
               != 0)
        {
            continue;
        }

        to = parameters[i].to;

        rest.data = value->data + parameters[i].name.len;
        rest.len = value->len - parameters[i].name.len;

        if (to->len || rest.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" %s", &parameters[i].name,
                               to->len ? "is duplicate" : "wants a value");
            return NGX_CONF_ERROR;
        }

        *to = rest;

        if (to == &limit->rate) {
            return ngx_http_resilience_limit_rate(cf, &rest, limit);
        }

        if (to == &limit->name) {
            return ngx_http_resilience_limit_name(cf, &rest);
        }

        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\", use \"rate=\", \"burst=\", "
                       "\"key=\" or \"name=\"", value);
    return NGX_CONF_ERROR;
}


/* "60r/m", "100k/m" */

static char *
ngx_http_resilience_limit_rate(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_resilience_limit_t *limit)
{
    u_char      *p, *last;
    ngx_int_t    n;
    ngx_uint_t   i;

    last = value->data + value->len;
    p = ngx_strlchr(value->data, last, '/');

    if (p == NULL || last - p != 2) {
        goto invalid;
    }

    for (i = 0; ngx_http_resilience_periods[i].unit; i++) {
        if (ngx_http_resilience_periods[i].unit == p[1]) {
            break;
        }
    }

    limit->conf.period = ngx_http_resilience_periods[i].period;

    if (!limit->tokens) {
        if (p == value->data || *--p != 'r') {
            goto invalid;
        }
    }

    n = ngx_http_resilience_limit_number(value->data, p - value->data,
                                         limit->tokens);

    if (n < 1 || n > RES_GCRA_MAX || limit->conf.period == 0) {
        goto invalid;
    }

    limit->conf.limit = (uint32_t) n;

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid rate \"%V\" of %V, it is a number from 1 to "
                       "%d by the second, minute, hour or day: %s", value,
                       &limit->kind, RES_GCRA_MAX,
                       limit->tokens
                           ? "\"500/s\", \"100k/m\", \"1M/h\" or \"20M/d\""
                           : "\"10r/s\", \"60r/m\", \"1000r/h\" or "
                             "\"5000r/d\"");
    return NGX_CONF_ERROR;
}


/*
 * As with "limit_req" a burst of requests is those beyond the first.  Without
 * one, what a period has may come at once.
 */

static char *
ngx_http_resilience_limit_burst(ngx_conf_t *cf,
    ngx_http_resilience_limit_t *limit)
{
    ngx_int_t  n;

    if (limit->rate.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a limit of %V wants a rate, \"rate=%s\" for one",
                           &limit->kind, limit->tokens ? "100k/m" : "60r/m");
        return NGX_CONF_ERROR;
    }

    if (limit->burst.len == 0) {
        limit->conf.burst = limit->conf.limit - 1;
        return NGX_CONF_OK;
    }

    n = ngx_http_resilience_limit_number(limit->burst.data, limit->burst.len,
                                         limit->tokens);

    if (limit->tokens && n >= 0) {
        n--;
    }

    if (n < 0 || n >= RES_GCRA_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid burst \"%V\" of %V, it must be a number "
                           "from %d to %d%s", &limit->burst, &limit->kind,
                           limit->tokens ? 1 : 0, RES_GCRA_MAX - 1,
                           limit->tokens ? ", \"200k\" for one" : "");
        return NGX_CONF_ERROR;
    }

    limit->conf.burst = (uint32_t) n;

    if ((uint64_t) n / limit->conf.limit * limit->conf.period / 1000
        > (uint64_t) NGX_HTTP_RESILIENCE_LIMIT_AGES * 24 * 3600)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "burst \"%V\" would take more than ten years to "
                           "come back at a rate of \"%V\"",
                           &limit->burst, &limit->rate);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* of tokens, there are thousands and millions */

static ngx_int_t
ngx_http_resilience_limit_number(u_char *p, size_t len, ngx_uint_t tokens)
{
    ngx_int_t  n, scale;

    scale = 1;

    if (tokens && len > 1) {
        scale = (p[len - 1] == 'k' || p[len - 1] == 'K') ? 1000
                : (p[len - 1] == 'M') ? 1000000 : 1;
    }

    if (scale > 1) {
        len--;
    }

    n = ngx_atoi(p, len);

    return (n == NGX_ERROR || n > RES_GCRA_MAX / scale) ? NGX_ERROR
                                                        : n * scale;
}


/* it goes into a header, a metric and the log */

static char *
ngx_http_resilience_limit_name(ngx_conf_t *cf, ngx_str_t *name)
{
    u_char      ch;
    ngx_uint_t  i;

    for (i = 0; i < name->len; i++) {
        ch = name->data[i];

        if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
            || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-' || ch == '.')
        {
            continue;
        }

        break;
    }

    if (i < name->len || name->len > NGX_HTTP_RESILIENCE_NAME) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid name \"%V\" of a limit, it may have 1 to "
                           "%d letters, digits, \"_\", \"-\" and \".\"",
                           name, NGX_HTTP_RESILIENCE_NAME);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* the limit of that name, which is the same, or else this one; NULL: neither */

static ngx_http_resilience_limit_t *
ngx_http_resilience_limit_known(ngx_conf_t *cf,
    ngx_http_resilience_limit_t *limit)
{
    ngx_uint_t                         i;
    ngx_http_resilience_limit_t       *known, **limits;
    ngx_http_resilience_main_conf_t   *rmcf;

    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_resilience_module);

    if (limit->name.len == 0) {
        limit->name = limit->kind;
    }

    limits = rmcf->limits.elts;

    for (i = 0; i < rmcf->limits.nelts; i++) {
        known = limits[i];

        if (!ngx_http_resilience_limit_equal(&known->name, &limit->name)) {
            continue;
        }

        if (known->tokens == limit->tokens
            && known->conf.limit == limit->conf.limit
            && known->conf.period == limit->conf.period
            && known->conf.burst == limit->conf.burst
            && ngx_http_resilience_limit_equal(&known->key_text,
                                               &limit->key_text))
        {
            return known;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "limit \"%V\" is another one in %s:%ui, give this "
                           "one a name of its own with \"name=\"",
                           &known->name, known->place.file,
                           known->place.line);
        return NULL;
    }

    if (ngx_http_resilience_limit_key(cf, limit) != NGX_CONF_OK) {
        return NULL;
    }

    known = ngx_palloc(cf->pool, sizeof(ngx_http_resilience_limit_t));
    limits = ngx_array_push(&rmcf->limits);

    if (known == NULL || limits == NULL) {
        return NULL;
    }

    limit->place.file = cf->conf_file->file.name.data;
    limit->place.line = cf->conf_file->line;

    *known = *limit;
    *limits = known;

    return known;
}


static ngx_uint_t
ngx_http_resilience_limit_equal(ngx_str_t *a, ngx_str_t *b)
{
    return a->len == b->len
           && (a->len == 0 || ngx_memcmp(a->data, b->data, a->len) == 0);
}


static char *
ngx_http_resilience_limit_key(ngx_conf_t *cf,
    ngx_http_resilience_limit_t *limit)
{
    ngx_http_compile_complex_value_t  ccv;

    if (limit->key_text.len == 0) {
        return NGX_CONF_OK;
    }

    limit->key = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (limit->key == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &limit->key_text;
    ccv.complex_value = limit->key;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
