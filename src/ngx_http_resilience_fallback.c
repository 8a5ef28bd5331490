
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * fallback status [file | "text"] [type=mime]: what is answered when nothing
 * is left, made when the configuration is read.
 */


#define NGX_HTTP_RESILIENCE_BODY_MAX  (1024 * 1024)


static char *ngx_http_resilience_fallback_stale(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain);
static char *ngx_http_resilience_fallback_body(ngx_conf_t *cf,
    ngx_str_t *value, ngx_http_resilience_fallback_t *fallback);
static char *ngx_http_resilience_fallback_file(ngx_conf_t *cf,
    ngx_str_t *path, ngx_http_resilience_fallback_t *fallback);
static char *ngx_http_resilience_fallback_exten(ngx_conf_t *cf,
    ngx_str_t *path, ngx_http_resilience_fallback_t *fallback);
static void ngx_http_resilience_fallback_guess(
    ngx_http_resilience_fallback_t *fallback);
static ngx_str_t *ngx_http_resilience_fallback_type(ngx_http_request_t *r,
    ngx_http_resilience_fallback_t *fallback);
static ngx_int_t ngx_http_resilience_fallback_headers(
    ngx_http_resilience_call_t *call);


char *
ngx_http_resilience_fallback(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain)
{
    ngx_int_t                        n;
    ngx_str_t                       *value;
    ngx_uint_t                       i;
    ngx_http_resilience_fallback_t  *fallback;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "stale") == 0) {
        return ngx_http_resilience_fallback_stale(cf, chain);
    }

    fallback = &chain->fallback;

    if (fallback->status) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"fallback\" directive is duplicate in chain "
                           "\"%V\", there may be \"fallback stale\" and one "
                           "with a status", &chain->name);
        return NGX_CONF_ERROR;
    }

    n = ngx_atoi(value[1].data, value[1].len);

    if (n == NGX_ERROR || n < 200 || n > 599 || n == 204 || n == 304) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid status \"%V\" of \"fallback\", it must be "
                           "from 200 to 599 and have a body, or \"stale\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    fallback->status = n;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "type=", 5) == 0) {

            if (value[i].len == 5 || fallback->typed) {
                goto invalid;
            }

            fallback->type.data = value[i].data + 5;
            fallback->type.len = value[i].len - 5;
            fallback->typed = 1;
            continue;
        }

        if (fallback->given) {
            goto invalid;
        }

        if (ngx_http_resilience_fallback_body(cf, &value[i], fallback)
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    ngx_http_resilience_fallback_guess(fallback);

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\" of \"fallback\", after the "
                       "status come a file or a text, and \"type=mime/type\"",
                       &value[i]);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_resilience_fallback_stale(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain)
{
    if (cf->args->nelts > 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"fallback stale\" has no other parameters");
        return NGX_CONF_ERROR;
    }

    if (chain->stale) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"fallback stale\" is duplicate in chain \"%V\"",
                           &chain->name);
        return NGX_CONF_ERROR;
    }

    chain->stale = 1;

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_fallback_body(ngx_conf_t *cf, ngx_str_t *value,
    ngx_http_resilience_fallback_t *fallback)
{
    fallback->given = 1;

    if (value->len && value->data[0] == '/') {
        return ngx_http_resilience_fallback_file(cf, value, fallback);
    }

    fallback->body = *value;

    return NGX_CONF_OK;
}


/* read now: when it is needed, the disk may be what is broken */

static char *
ngx_http_resilience_fallback_file(ngx_conf_t *cf, ngx_str_t *path,
    ngx_http_resilience_fallback_t *fallback)
{
    off_t            size;
    ssize_t          n;
    ngx_fd_t         fd;
    ngx_file_info_t  fi;

    fd = ngx_open_file(path->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", path);
        return NGX_CONF_ERROR;
    }

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR || !ngx_is_file(&fi)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "fallback \"%V\" is not a file", path);
        goto failed;
    }

    size = ngx_file_size(&fi);

    if (size > NGX_HTTP_RESILIENCE_BODY_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "fallback \"%V\" is over %d bytes", path,
                           NGX_HTTP_RESILIENCE_BODY_MAX);
        goto failed;
    }

    fallback->body.data = ngx_pnalloc(cf->pool, size + 1);
    if (fallback->body.data == NULL) {
        goto failed;
    }

    n = ngx_read_fd(fd, fallback->body.data, size);

    if (n != size) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_read_fd_n " \"%V\" failed", path);
        goto failed;
    }

    fallback->body.len = n;

    (void) ngx_close_file(fd);

    return ngx_http_resilience_fallback_exten(cf, path, fallback);

failed:

    (void) ngx_close_file(fd);

    return NGX_CONF_ERROR;
}


/* lower case, as "types" has them */

static char *
ngx_http_resilience_fallback_exten(ngx_conf_t *cf, ngx_str_t *path,
    ngx_http_resilience_fallback_t *fallback)
{
    u_char     *p, *last;
    ngx_str_t  *exten;

    last = path->data + path->len;

    for (p = last; p > path->data && p[-1] != '.'; p--) {
        if (p[-1] == '/') {
            return NGX_CONF_OK;
        }
    }

    exten = &fallback->exten;

    exten->len = last - p;
    exten->data = ngx_pnalloc(cf->pool, exten->len);

    if (exten->data == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_strlow(exten->data, p, exten->len);

    return NGX_CONF_OK;
}


/* for what "types" does not know: by the looks of it */

static void
ngx_http_resilience_fallback_guess(ngx_http_resilience_fallback_t *fallback)
{
    u_char   ch;
    size_t   i;

    if (fallback->typed) {
        return;
    }

    ch = 0;

    for (i = 0; i < fallback->body.len && ch <= ' '; i++) {
        ch = fallback->body.data[i];
    }

    if ((fallback->exten.len == 4
         && ngx_strncmp(fallback->exten.data, "json", 4) == 0)
        || ch == '{' || ch == '[')
    {
        ngx_str_set(&fallback->type, "application/json");

    } else if (ch == '<') {
        ngx_str_set(&fallback->type, "text/html");

    } else {
        ngx_str_set(&fallback->type, "text/plain");
    }
}


ngx_int_t
ngx_http_resilience_fallback_send(ngx_http_resilience_call_t *call)
{
    ngx_http_request_t              *r;
    ngx_http_resilience_step_t      *step;
    ngx_http_resilience_fallback_t  *fallback;

    r = call->request;
    step = call->chain->steps.elts;
    fallback = &call->chain->fallback;

    if (ngx_http_resilience_fallback_headers(call) != NGX_OK) {
        return NGX_ERROR;
    }

    if (!fallback->given && step[0].provider->dialect->error_body
        && fallback->status >= NGX_HTTP_BAD_REQUEST)
    {
        return ngx_http_resilience_answer_error(call, fallback->status,
                                                res_outcome_name(call->outcome),
                                                "no provider could answer");
    }

    if (ngx_http_resilience_answer_tell(call) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_resilience_answer_send(r, fallback->status,
                             ngx_http_resilience_fallback_type(r, fallback),
                             &fallback->body);
}


/* it is no answer of a provider, and nothing to keep */

static ngx_int_t
ngx_http_resilience_fallback_headers(ngx_http_resilience_call_t *call)
{
    ngx_str_t            value;
    ngx_uint_t           status;
    ngx_http_request_t  *r;

    r = call->request;
    status = call->chain->fallback.status;

    ngx_str_set(&value, "static");

    if (ngx_http_resilience_answer_add(r, "X-Data-Source", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_str_set(&value, "no-store");

    if (ngx_http_resilience_answer_add(r, "Cache-Control", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    if (status == NGX_HTTP_SERVICE_UNAVAILABLE
        || status == NGX_HTTP_TOO_MANY_REQUESTS)
    {
        return ngx_http_resilience_answer_retry_after(call);
    }

    return NGX_OK;
}


static ngx_str_t *
ngx_http_resilience_fallback_type(ngx_http_request_t *r,
    ngx_http_resilience_fallback_t *fallback)
{
    ngx_str_t                 *type, *exten;
    ngx_http_core_loc_conf_t  *clcf;

    exten = &fallback->exten;

    if (fallback->typed || exten->len == 0) {
        return &fallback->type;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    type = ngx_hash_find(&clcf->types_hash,
                         ngx_hash_key(exten->data, exten->len), exten->data,
                         exten->len);

    return type ? type : &fallback->type;
}
