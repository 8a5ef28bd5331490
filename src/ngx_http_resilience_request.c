
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/*
 * What a provider is sent: the client's method, path and headers, without
 * what is none of its business; its own credential; and the body, with the
 * model's name replaced by splicing, so that nothing of it is copied.
 */


#define NGX_HTTP_RESILIENCE_READ  (64 * 1024)


static ngx_int_t ngx_http_resilience_request_path(
    ngx_http_resilience_attempt_t *a);
static ngx_int_t ngx_http_resilience_request_prefix(ngx_pool_t *pool,
    ngx_str_t *prefix, ngx_str_t *text);
static ngx_int_t ngx_http_resilience_request_headers(
    ngx_http_resilience_attempt_t *a);
static ngx_uint_t ngx_http_resilience_request_skipped(
    ngx_http_resilience_attempt_t *a, ngx_table_elt_t *h);
static ngx_uint_t ngx_http_resilience_request_own(
    ngx_http_resilience_attempt_t *a);
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
static ngx_int_t ngx_http_resilience_request_body(
    ngx_http_resilience_attempt_t *a);
static ngx_uint_t ngx_http_resilience_request_is_json(ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_request_scan_file(
    ngx_http_resilience_call_t *call, ngx_buf_t *b);
static ngx_http_resilience_model_t *ngx_http_resilience_request_model(
    ngx_http_resilience_attempt_t *a);
static ngx_int_t ngx_http_resilience_request_slice(ngx_pool_t *pool,
    ngx_chain_t *in, uint64_t from, uint64_t to, ngx_chain_t ***last);
static ngx_int_t ngx_http_resilience_request_length(ngx_http_request_t *sr,
    off_t length);


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

    if (ngx_http_resilience_request_path(a) != NGX_OK
        || ngx_http_resilience_request_headers(a) != NGX_OK
        || ngx_http_resilience_request_deadline(a) != NGX_OK
        || ngx_http_resilience_request_key(a) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_resilience_request_body(a);
}


/* the endpoint's path goes before the request's, however that is written */

static ngx_int_t
ngx_http_resilience_request_path(ngx_http_resilience_attempt_t *a)
{
    ngx_http_request_t  *sr;

    if (a->step->provider->path.len == 0) {
        return NGX_OK;
    }

    sr = a->request;

    if (ngx_http_resilience_request_prefix(sr->pool, &a->step->provider->path,
                                           &sr->uri)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_resilience_request_prefix(sr->pool,
                                              &a->step->provider->path,
                                              &sr->unparsed_uri);
}


static ngx_int_t
ngx_http_resilience_request_prefix(ngx_pool_t *pool, ngx_str_t *prefix,
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


static ngx_int_t
ngx_http_resilience_request_headers(ngx_http_resilience_attempt_t *a)
{
    ngx_uint_t           i, n;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *h, *copy;
    ngx_http_request_t  *r, *sr;

    r = a->call->request;
    sr = a->request;

    n = 3;

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


/*
 * Is the client's credential meant for this provider?  It is for the first one
 * that the chain names, in whatever order they are asked.
 */

static ngx_uint_t
ngx_http_resilience_request_own(ngx_http_resilience_attempt_t *a)
{
    return a->step->provider->key == NULL
           && a->step == a->call->chain->steps.elts;
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
    value = &a->step->provider->key->value;

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


/*
 * Can the model be found, where it may have to be replaced?  NGX_OK, NGX_ERROR
 * or NGX_HTTP_BAD_REQUEST.
 */

ngx_int_t
ngx_http_resilience_request_check(ngx_http_resilience_call_t *call)
{
    ngx_http_request_t  *r;

    r = call->request;

    if (r->request_body == NULL || r->request_body->bufs == NULL
        || !ngx_http_resilience_request_is_json(r))
    {
        return NGX_OK;
    }

    if (ngx_http_resilience_request_scan(call) != NGX_OK) {
        return NGX_ERROR;
    }

    if (call->scan->offset == 0) {
        return NGX_OK;
    }

    return (call->scan->status == LLM_JSON_DONE
            && call->scan->nspans <= LLM_JSON_SPANS)
               ? NGX_OK : NGX_HTTP_BAD_REQUEST;
}


static ngx_uint_t
ngx_http_resilience_request_is_json(ngx_http_request_t *r)
{
    ngx_table_elt_t  *type;

    type = r->headers_in.content_type;

    return type == NULL
           || ngx_strlcasestrn(type->value.data,
                               type->value.data + type->value.len,
                               (u_char *) "json", 4 - 1)
              != NULL;
}


/* finds the model in the request's body, once a call */

ngx_int_t
ngx_http_resilience_request_scan(ngx_http_resilience_call_t *call)
{
    ngx_chain_t         *cl;
    ngx_http_request_t  *r;

    if (call->scan) {
        return NGX_OK;
    }

    r = call->request;

    call->scan = ngx_palloc(r->pool, sizeof(llm_json_scan_t));
    if (call->scan == NULL) {
        return NGX_ERROR;
    }

    llm_json_scan_init(call->scan, "model");

    if (r->request_body == NULL) {
        return NGX_OK;
    }

    for (cl = r->request_body->bufs; cl; cl = cl->next) {

        if (ngx_buf_in_memory(cl->buf)) {
            (void) llm_json_scan(call->scan, cl->buf->pos,
                                 cl->buf->last - cl->buf->pos);

        } else if (cl->buf->in_file
                   && ngx_http_resilience_request_scan_file(call, cl->buf)
                      != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_request_scan_file(ngx_http_resilience_call_t *call,
    ngx_buf_t *b)
{
    off_t    pos;
    size_t   size;
    u_char  *buf;
    ssize_t  n;

    buf = ngx_alloc(NGX_HTTP_RESILIENCE_READ,
                    call->request->connection->log);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    for (pos = b->file_pos; pos < b->file_last; pos += n) {

        size = ngx_min(b->file_last - pos, NGX_HTTP_RESILIENCE_READ);

        n = ngx_read_file(b->file, buf, size, pos);

        if (n == NGX_ERROR || n == 0) {
            ngx_free(buf);
            return NGX_ERROR;
        }

        (void) llm_json_scan(call->scan, buf, n);
    }

    ngx_free(buf);

    return NGX_OK;
}


/* what the model is to be called at this provider, NULL: as it is */

static ngx_http_resilience_model_t *
ngx_http_resilience_request_model(ngx_http_resilience_attempt_t *a)
{
    ngx_uint_t                    i;
    llm_json_scan_t              *scan;
    ngx_http_resilience_model_t  *model, *any;

    scan = a->call->scan;

    if (a->step->provider->models == NULL || scan == NULL
        || scan->status != LLM_JSON_DONE || scan->nspans == 0
        || scan->nspans > LLM_JSON_SPANS)
    {
        return NULL;
    }

    model = a->step->provider->models->elts;
    any = NULL;

    for (i = 0; i < a->step->provider->models->nelts; i++) {

        if (model[i].from.len == 0) {
            any = &model[i];
            continue;
        }

        if (scan->string && model[i].from.len == scan->value_len
            && ngx_memcmp(model[i].from.data, scan->value, scan->value_len)
               == 0)
        {
            return &model[i];
        }
    }

    return any;
}


void
ngx_http_resilience_request_model_name(ngx_http_resilience_call_t *call,
    ngx_http_resilience_attempt_t *a, ngx_str_t *name)
{
    ngx_http_resilience_model_t  *model;

    model = a ? ngx_http_resilience_request_model(a) : NULL;

    if (model) {
        *name = model->to;
        return;
    }

    ngx_str_null(name);

    if (call->scan->status == LLM_JSON_DONE && call->scan->nspans
        && call->scan->string)
    {
        name->data = call->scan->value;
        name->len = call->scan->value_len;
    }
}


static ngx_int_t
ngx_http_resilience_request_body(ngx_http_resilience_attempt_t *a)
{
    off_t                     length;
    uint64_t                  pos;
    ngx_buf_t                *b;
    ngx_uint_t                i;
    ngx_chain_t              *in, *cl, **last, *out;
    ngx_http_request_t       *r, *sr;
    llm_json_scan_t          *scan;
    ngx_http_request_body_t  *rb;
    ngx_http_resilience_model_t  *model;

    r = a->call->request;
    sr = a->request;

    model = ngx_http_resilience_request_model(a);

    if (model == NULL) {
        return NGX_OK;
    }

    scan = a->call->scan;
    in = r->request_body->bufs;

    out = NULL;
    last = &out;
    pos = 0;
    length = (off_t) scan->offset;

    for (i = 0; i < scan->nspans; i++) {

        if (ngx_http_resilience_request_slice(r->pool, in, pos,
                                              scan->spans[i].start, &last)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        b = ngx_calloc_buf(r->pool);
        cl = ngx_alloc_chain_link(r->pool);

        if (b == NULL || cl == NULL) {
            return NGX_ERROR;
        }

        b->pos = model->json.data;
        b->last = model->json.data + model->json.len;
        b->start = b->pos;
        b->end = b->last;
        b->memory = 1;

        cl->buf = b;
        cl->next = NULL;

        *last = cl;
        last = &cl->next;

        pos = scan->spans[i].end;
        length += (off_t) model->json.len
                  - (off_t) (scan->spans[i].end - scan->spans[i].start);
    }

    if (ngx_http_resilience_request_slice(r->pool, in, pos, scan->offset,
                                          &last)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (cl = out; cl->next; cl = cl->next) { /* void */ }

    cl->buf->last_buf = 1;

    rb = ngx_palloc(r->pool, sizeof(ngx_http_request_body_t));
    if (rb == NULL) {
        return NGX_ERROR;
    }

    *rb = *r->request_body;
    rb->bufs = out;
    rb->buf = NULL;

    sr->request_body = rb;

    return ngx_http_resilience_request_length(sr, length);
}


/* the bytes from..to of the body, by reference */

static ngx_int_t
ngx_http_resilience_request_slice(ngx_pool_t *pool, ngx_chain_t *in,
    uint64_t from, uint64_t to, ngx_chain_t ***last)
{
    off_t         size, skip, take;
    uint64_t      pos;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    pos = 0;

    for ( /* void */ ; in && pos < to; in = in->next) {

        size = ngx_buf_size(in->buf);

        if (size == 0 || pos + size <= from) {
            pos += size;
            continue;
        }

        skip = (from > pos) ? (off_t) (from - pos) : 0;
        take = ngx_min(size, (off_t) (to - pos)) - skip;

        pos += size;

        if (take <= 0) {
            continue;
        }

        b = ngx_alloc_buf(pool);
        cl = ngx_alloc_chain_link(pool);

        if (b == NULL || cl == NULL) {
            return NGX_ERROR;
        }

        *b = *in->buf;
        b->last_buf = 0;

        if (ngx_buf_in_memory(b)) {
            b->pos += skip;
            b->last = b->pos + take;
        }

        if (b->in_file) {
            b->file_pos += skip;
            b->file_last = b->file_pos + take;
        }

        cl->buf = b;
        cl->next = NULL;

        **last = cl;
        *last = &cl->next;
    }

    return NGX_OK;
}


static ngx_int_t
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
