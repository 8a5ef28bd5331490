
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/* the path and the arguments that a provider is sent */


static ngx_int_t ngx_http_resilience_uri_rewrite(
    ngx_http_resilience_attempt_t *a);
static ngx_int_t ngx_http_resilience_uri_splice(ngx_http_request_t *sr,
    ngx_str_t *uri, llm_str_t *part, ngx_str_t *to);
static ngx_uint_t ngx_http_resilience_uri_strip(
    ngx_http_resilience_attempt_t *a, const char *name);
static ngx_int_t ngx_http_resilience_uri_write(ngx_http_request_t *sr);
static ngx_int_t ngx_http_resilience_uri_prefix(ngx_pool_t *pool,
    ngx_str_t *prefix, ngx_str_t *text);


/* the endpoint's path goes before the request's, however that is written */

ngx_int_t
ngx_http_resilience_uri(ngx_http_resilience_attempt_t *a)
{
    ngx_http_request_t  *sr;

    if (ngx_http_resilience_uri_rewrite(a) != NGX_OK) {
        return NGX_ERROR;
    }

    if (a->step->provider->path.len == 0) {
        return NGX_OK;
    }

    sr = a->request;

    if (ngx_http_resilience_uri_prefix(sr->pool, &a->step->provider->path,
                                           &sr->uri)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_resilience_uri_prefix(sr->pool,
                                              &a->step->provider->path,
                                              &sr->unparsed_uri);
}


/* the model in the path, and a client's credential in the arguments */

static ngx_int_t
ngx_http_resilience_uri_rewrite(ngx_http_resilience_attempt_t *a)
{
    llm_str_t                     name;
    ngx_uint_t                    changed;
    ngx_http_request_t           *sr;
    ngx_http_resilience_step_t   *first;
    ngx_http_resilience_model_t  *model;

    sr = a->request;
    changed = 0;

    if (a->step->provider->models
        && ngx_http_resilience_model_in_path(a->call, a->step->provider,
                                             &name))
    {
        model = ngx_http_resilience_model_match(a->step->provider, name.data,
                                                name.len);

        if (model) {
            if (ngx_http_resilience_uri_splice(sr, &a->call->request->uri,
                                                &name, &model->to)
                != NGX_OK)
            {
                return NGX_ERROR;
            }

            changed = 1;
        }
    }

    if (!ngx_http_resilience_request_own(a)) {

        /* the client speaks the dialect of the chain's first provider */

        first = a->call->chain->steps.elts;

        changed |= ngx_http_resilience_uri_strip(a,
                                           first->provider->dialect->key_arg);
        changed |= ngx_http_resilience_uri_strip(a,
                                         a->step->provider->dialect->key_arg);
    }

    return changed ? ngx_http_resilience_uri_write(sr) : NGX_OK;
}


/* puts a name in the place of a part of the path */

static ngx_int_t
ngx_http_resilience_uri_splice(ngx_http_request_t *sr, ngx_str_t *uri,
    llm_str_t *part, ngx_str_t *to)
{
    u_char  *p, *data;
    size_t   before, behind;

    before = part->data - uri->data;
    behind = uri->len - before - part->len;

    data = ngx_pnalloc(sr->pool, before + to->len + behind);
    if (data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(data, uri->data, before);
    p = ngx_cpymem(p, to->data, to->len);
    p = ngx_cpymem(p, part->data + part->len, behind);

    sr->uri.data = data;
    sr->uri.len = p - data;

    return NGX_OK;
}


/* leaves out the arguments of that name; were there any? */

static ngx_uint_t
ngx_http_resilience_uri_strip(ngx_http_resilience_attempt_t *a,
    const char *name)
{
    u_char              *p, *next, *last, *out, *data;
    size_t               len;
    ngx_http_request_t  *sr;

    sr = a->request;

    if (name == NULL || sr->args.len == 0) {
        return 0;
    }

    len = ngx_strlen(name);
    last = sr->args.data + sr->args.len;
    data = NULL;
    out = NULL;

    for (p = sr->args.data; p < last; p = next) {

        next = ngx_strlchr(p, last, '&');
        next = next ? next + 1 : last;

        if ((size_t) (last - p) >= len
            && ngx_strncmp(p, name, len) == 0
            && (p + len == last || p[len] == '=' || p[len] == '&'))
        {
            if (data == NULL) {

                data = ngx_pnalloc(sr->pool, sr->args.len);
                if (data == NULL) {
                    sr->args.len = 0;
                    return 1;
                }

                out = ngx_cpymem(data, sr->args.data, p - sr->args.data);
            }

        } else if (data) {
            out = ngx_cpymem(out, p, next - p);
        }
    }

    if (data == NULL) {
        return 0;
    }

    if (out > data && *(out - 1) == '&') {
        out--;
    }

    sr->args.data = data;
    sr->args.len = out - data;

    return 1;
}


/* the path and the arguments were changed: writes them anew */

static ngx_int_t
ngx_http_resilience_uri_write(ngx_http_request_t *sr)
{
    u_char  *p;
    size_t   len;

    len = sr->uri.len + 1 + sr->args.len
          + 2 * ngx_escape_uri(NULL, sr->uri.data, sr->uri.len,
                               NGX_ESCAPE_URI);

    p = ngx_pnalloc(sr->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    sr->unparsed_uri.data = p;

    p = (u_char *) ngx_escape_uri(p, sr->uri.data, sr->uri.len,
                                  NGX_ESCAPE_URI);

    if (sr->args.len) {
        *p++ = '?';
        p = ngx_cpymem(p, sr->args.data, sr->args.len);
    }

    sr->unparsed_uri.len = p - sr->unparsed_uri.data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_uri_prefix(ngx_pool_t *pool, ngx_str_t *prefix,
    ngx_str_t *text)
{
    u_char     *p;
    ngx_str_t   s;

    s.len = prefix->len + text->len;
    s.data = ngx_pnalloc(pool, s.len);

    if (s.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(s.data, prefix->data, prefix->len);
    ngx_memcpy(p, text->data, text->len);

    *text = s;

    return NGX_OK;
}
