
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_body.h"


/*
 * What a provider is sent: the client's method, path and headers, without
 * what is none of its business; its own credential; and the body.
 */


static ngx_int_t ngx_http_resilience_request_headers(
    ngx_http_resilience_attempt_t *a);
static ngx_uint_t ngx_http_resilience_request_skipped(
    ngx_http_resilience_attempt_t *a, ngx_table_elt_t *h);
static ngx_uint_t ngx_http_resilience_request_is_deadline(
    ngx_http_resilience_attempt_t *a, ngx_table_elt_t *h);
static ngx_int_t ngx_http_resilience_request_deadline(
    ngx_http_resilience_attempt_t *a);
static ngx_uint_t ngx_http_resilience_request_listed(ngx_str_t *list,
    ngx_table_elt_t *h);
static ngx_uint_t ngx_http_resilience_request_named(ngx_http_request_t *r,
    ngx_table_elt_t *h);
static ngx_uint_t ngx_http_resilience_request_among(ngx_str_t *list,
    ngx_str_t *name);
static ngx_int_t ngx_http_resilience_request_key(
    ngx_http_resilience_attempt_t *a);
static void ngx_http_resilience_request_strip(ngx_http_request_t *sr);
static ngx_table_elt_t *ngx_http_resilience_request_add(
    ngx_http_request_t *sr, const char *lowcase_name, ngx_str_t *value);


/* never passed on: they speak of the connection, or are for us */

static ngx_str_t  ngx_http_resilience_hop_headers[] = {
    ngx_string("connection"),
    ngx_string("keep-alive"),
    ngx_string("proxy-connection"),
    ngx_string("proxy-authorization"),
    ngx_string("te"),
    ngx_string("trailer"),
    ngx_string("transfer-encoding"),
    ngx_string("upgrade"),
    ngx_string("x-resilience-fallback"),
    ngx_null_string
};


/* for the client's own provider only */

static ngx_str_t  ngx_http_resilience_credentials[] = {
    ngx_string("authorization"),
    ngx_string("x-api-key"),
    ngx_string("api-key"),
    ngx_string("x-goog-api-key"),
    ngx_string("cookie"),
    ngx_null_string
};


ngx_int_t
ngx_http_resilience_request_prepare(ngx_http_resilience_attempt_t *a)
{
    ngx_http_request_t  *r, *sr;

    r = a->call->request;
    sr = a->request;

    sr->method = r->method;
    sr->method_name = r->method_name;
    sr->header_in = r->header_in;

    /* the path as the client wrote it, unless it was rewritten */

    sr->valid_unparsed_uri = r->valid_unparsed_uri;
    sr->valid_location = 1;

    if (ngx_http_resilience_uri(a) != NGX_OK
        || ngx_http_resilience_request_headers(a) != NGX_OK
        || ngx_http_resilience_request_deadline(a) != NGX_OK
        || ngx_http_resilience_request_key(a) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_resilience_body_prepare(a);
}


static ngx_int_t
ngx_http_resilience_request_headers(ngx_http_resilience_attempt_t *a)
{
    ngx_uint_t           i, n;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *h, *copy;
    ngx_http_request_t  *r, *sr;

    static ngx_str_t  identity = ngx_string("identity");

    r = a->call->request;
    sr = a->request;

    n = 4;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        n += part->nelts;
    }

    if (ngx_list_init(&sr->headers_in.headers, r->pool, n,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].hash == 0 || ngx_http_resilience_request_skipped(a, &h[i])) {
            continue;
        }

        copy = ngx_list_push(&sr->headers_in.headers);
        if (copy == NULL) {
            return NGX_ERROR;
        }

        *copy = h[i];
    }

    if (a->step->provider->dialect->event
        && ngx_http_resilience_request_add(sr, "accept-encoding", &identity)
           == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_resilience_request_skipped(ngx_http_resilience_attempt_t *a,
    ngx_table_elt_t *h)
{
    if (ngx_http_resilience_request_listed(ngx_http_resilience_hop_headers, h))
    {
        return 1;
    }

    if (a->call->names_headers
        && ngx_http_resilience_request_named(a->call->request, h))
    {
        return 1;
    }

    if (ngx_http_resilience_request_is_deadline(a, h)) {
        /* what is left is added */
        return 1;
    }

    if (a->step->provider->dialect->event
        && h->key.len == sizeof("accept-encoding") - 1
        && ngx_strncmp(h->lowcase_key, "accept-encoding", h->key.len) == 0)
    {
        /* what is to be read must not be compressed */
        return 1;
    }

    if (ngx_http_resilience_request_own(a)) {
        return 0;
    }

    return ngx_http_resilience_request_listed(ngx_http_resilience_credentials,
                                              h);
}


/* it is for the first one that the chain names, in whatever order */

ngx_uint_t
ngx_http_resilience_request_own(ngx_http_resilience_attempt_t *a)
{
    return a->step->provider->key == NULL
           && a->step == a->call->chain->steps.elts;
}


ngx_uint_t
ngx_http_resilience_request_lent(ngx_http_resilience_attempt_t *a)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    if (!ngx_http_resilience_request_own(a)) {
        return 0;
    }

    for (part = &a->call->request->headers_in.headers.part; part;
         part = part->next)
    {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (ngx_http_resilience_request_listed(
                                     ngx_http_resilience_credentials, &h[i]))
            {
                return 1;
            }
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_resilience_request_is_deadline(ngx_http_resilience_attempt_t *a,
    ngx_table_elt_t *h)
{
    ngx_str_t  *name;

    name = &a->step->policy->deadline_header;

    return name->len && name->len == h->key.len
           && ngx_strncmp(name->data, h->lowcase_key, name->len) == 0;
}


/* each attempt is told how much of the call's time is left, in ms */

static ngx_int_t
ngx_http_resilience_request_deadline(ngx_http_resilience_attempt_t *a)
{
    ngx_str_t            value, *name;
    ngx_msec_int_t       left;
    ngx_http_request_t  *sr;

    name = &a->step->policy->deadline_header;
    left = ngx_http_resilience_call_left(a->call);

    if (name->len == 0 || left == NGX_MAX_INT_T_VALUE) {
        return NGX_OK;
    }

    sr = a->request;

    value.data = ngx_pnalloc(sr->pool, NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%M", (ngx_msec_t) ngx_max(left, 0))
                - value.data;

    return ngx_http_resilience_request_add(sr, (char *) name->data, &value)
               ? NGX_OK : NGX_ERROR;
}


ngx_uint_t
ngx_http_resilience_request_credential(ngx_table_elt_t *h)
{
    return ngx_http_resilience_request_listed(ngx_http_resilience_credentials,
                                              h);
}


static ngx_uint_t
ngx_http_resilience_request_listed(ngx_str_t *list, ngx_table_elt_t *h)
{
    for ( /* void */ ; list->len; list++) {
        if (list->len == h->key.len
            && ngx_strncmp(list->data, h->lowcase_key, h->key.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* is the header named in the value of a Connection header? */

static ngx_uint_t
ngx_http_resilience_request_named(ngx_http_request_t *r, ngx_table_elt_t *h)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *connection;

    for (part = &r->headers_in.headers.part; part; part = part->next) {

        connection = part->elts;

        for (i = 0; i < part->nelts; i++) {
            if (connection[i].key.len == sizeof("connection") - 1
                && ngx_strncmp(connection[i].lowcase_key, "connection",
                               sizeof("connection") - 1)
                   == 0
                && ngx_http_resilience_request_among(&connection[i].value,
                                                     &h->key))
            {
                return 1;
            }
        }
    }

    return 0;
}


/* is the name in a list with commas? */

static ngx_uint_t
ngx_http_resilience_request_among(ngx_str_t *list, ngx_str_t *name)
{
    u_char  *p, *last, *start;

    p = list->data;
    last = p + list->len;

    while (p < last) {

        while (p < last && (*p == ' ' || *p == '\t' || *p == ',')) {
            p++;
        }

        start = p;

        while (p < last && *p != ' ' && *p != '\t' && *p != ',') {
            p++;
        }

        if ((size_t) (p - start) == name->len && name->len
            && ngx_strncasecmp(start, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* the parsed header fields are the client's still: variables read them */

static ngx_int_t
ngx_http_resilience_request_key(ngx_http_resilience_attempt_t *a)
{
    ngx_str_t            *value;
    ngx_table_elt_t      *h;
    ngx_http_request_t   *sr;
    const llm_dialect_t  *dialect;

    sr = a->request;

    if (a->step->provider->key == NULL) {

        if (!ngx_http_resilience_request_own(a)) {
            ngx_http_resilience_request_strip(sr);
        }

        return NGX_OK;
    }

    ngx_http_resilience_request_strip(sr);

    dialect = a->step->provider->dialect;
    value = &a->turn.value;

    h = ngx_http_resilience_request_add(sr, dialect->key_header, value);
    if (h == NULL) {
        return NGX_ERROR;
    }

    /* the key's buffer may be written anew while the request waits */

    h->value.data = ngx_pstrdup(sr->pool, value);
    if (h->value.data == NULL) {
        return NGX_ERROR;
    }

    if (ngx_strcmp(dialect->key_header, "authorization") == 0) {
        sr->headers_in.authorization = h;
    }

    return NGX_OK;
}


static void
ngx_http_resilience_request_strip(ngx_http_request_t *sr)
{
    sr->headers_in.authorization = NULL;
    ngx_str_null(&sr->headers_in.user);
    ngx_str_null(&sr->headers_in.passwd);

#if (nginx_version >= 1023000)
    sr->headers_in.cookie = NULL;
#else
    ngx_memzero(&sr->headers_in.cookies, sizeof(ngx_array_t));
#endif
}


static ngx_table_elt_t *
ngx_http_resilience_request_add(ngx_http_request_t *sr,
    const char *lowcase_name, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&sr->headers_in.headers);
    if (h == NULL) {
        return NULL;
    }

    h->key.data = (u_char *) lowcase_name;
    h->key.len = ngx_strlen(lowcase_name);
    h->lowcase_key = h->key.data;
    h->hash = ngx_hash_key(h->key.data, h->key.len);
    h->value = *value;

    ngx_http_resilience_unlink(h);

    return h;
}


ngx_int_t
ngx_http_resilience_request_length(ngx_http_request_t *sr, off_t length)
{
    u_char           *p;
    ngx_str_t         value;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    sr->headers_in.content_length_n = length;
    sr->headers_in.chunked = 0;

    p = ngx_pnalloc(sr->pool, NGX_OFF_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    value.data = p;
    value.len = ngx_sprintf(p, "%O", length) - p;

    /* the list is the subrequest's own, in one part */

    part = &sr->headers_in.headers.part;
    h = part->elts;

    for (i = 0; i < part->nelts; i++) {
        if (h[i].key.len == sizeof("content-length") - 1
            && ngx_strncmp(h[i].lowcase_key, "content-length", h[i].key.len)
               == 0)
        {
            h[i].value = value;
            sr->headers_in.content_length = &h[i];
            return NGX_OK;
        }
    }

    /* it came in chunks */

    h = ngx_http_resilience_request_add(sr, "content-length", &value);
    if (h == NULL) {
        return NGX_ERROR;
    }

    sr->headers_in.content_length = h;

    return NGX_OK;
}
