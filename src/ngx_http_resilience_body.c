
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_body.h"


/*
 * The request's body: what it asks for, and as what it is sent.  The model's
 * name is replaced, and a stream is asked to tell of its tokens, by splicing,
 * so that nothing of the body is copied.
 */


#define NGX_HTTP_RESILIENCE_READ   (64 * 1024)
#define NGX_HTTP_RESILIENCE_TEXTS  1024     /* bytes of values that are read */


/* members of the body that are looked for */

typedef enum {
    NGX_HTTP_RESILIENCE_NAME_MODEL = 0,
    NGX_HTTP_RESILIENCE_NAME_STREAM,
    NGX_HTTP_RESILIENCE_NAME_OPTIONS,
    NGX_HTTP_RESILIENCE_NAMES
} ngx_http_resilience_name_e;

static const char *const  ngx_http_resilience_names[] = {
    "model", "stream", "stream_options"
};


/* what takes the place of values in it */

typedef struct {
    ngx_str_t                      *model;       /* NULL: as it is */
    ngx_str_t                       ask;         /* empty: not asked for */
    ngx_uint_t                      at;          /* the value that has to
                                                    give way to that */
} ngx_http_resilience_edit_t;


static ngx_uint_t ngx_http_resilience_body_asks(
    ngx_http_resilience_call_t *call, ngx_http_resilience_step_t *step);
static ngx_int_t ngx_http_resilience_body_scan_piece(void *data,
    const u_char *p, size_t len);
static ngx_int_t ngx_http_resilience_body_read_file(
    ngx_http_resilience_call_t *call, ngx_buf_t *b,
    ngx_http_resilience_piece_pt piece, void *data);
static ngx_int_t ngx_http_resilience_body_asked(
    ngx_http_resilience_call_t *call, llm_json_scan_t *scan);
static ngx_int_t ngx_http_resilience_body_copy(ngx_pool_t *pool,
    ngx_str_t *to, llm_str_t from);
static ngx_http_resilience_model_t *ngx_http_resilience_body_model(
    ngx_http_resilience_attempt_t *a);
static ngx_int_t ngx_http_resilience_body_ask(
    ngx_http_resilience_attempt_t *a, ngx_http_resilience_edit_t *edit);
static ngx_str_t *ngx_http_resilience_body_edited(
    ngx_http_resilience_asked_t *asked, ngx_http_resilience_edit_t *edit,
    ngx_uint_t n);
static ngx_int_t ngx_http_resilience_body_splice(
    ngx_http_resilience_attempt_t *a, ngx_http_resilience_edit_t *edit);
static ngx_int_t ngx_http_resilience_body_text(ngx_pool_t *pool,
    ngx_str_t *text, ngx_chain_t ***last);
static ngx_int_t ngx_http_resilience_body_slice(ngx_pool_t *pool,
    ngx_chain_t *in, uint64_t from, uint64_t to, ngx_chain_t ***last);


ngx_int_t
ngx_http_resilience_body_check(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step)
{
    llm_str_t            name;
    ngx_uint_t           models;
    ngx_http_request_t  *r;

    r = call->request;

    models = (step->provider->models
              && !ngx_http_resilience_model_in_path(call, step->provider,
                                                    &name));

    if ((!models && !ngx_http_resilience_body_asks(call, step))
        || r->request_body == NULL || r->request_body->bufs == NULL
        || !ngx_http_resilience_body_is_json(r))
    {
        return NGX_OK;
    }

    if (ngx_http_resilience_body_scan(call) != NGX_OK) {
        return NGX_ERROR;
    }

    return (!models || call->asked->valid || call->asked->length == 0)
               ? NGX_OK : NGX_HTTP_BAD_REQUEST;
}


/* does the step's provider tell of tokens in streams only if it is asked to? */

static ngx_uint_t
ngx_http_resilience_body_asks(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step)
{
    llm_str_t                        path, none;
    ngx_http_resilience_provider_t  *provider;

    provider = step->provider;

    if (!provider->usage || provider->dialect->ask_usage == NULL
        || call->request->method != NGX_HTTP_POST)
    {
        return 0;
    }

    path.len = call->request->uri.len;
    path.data = call->request->uri.data;
    none.len = 0;
    none.data = NULL;

    return provider->dialect->ask_usage(NULL, path, none) != 0;
}


ngx_uint_t
ngx_http_resilience_body_is_json(ngx_http_request_t *r)
{
    ngx_table_elt_t  *type;

    type = r->headers_in.content_type;

    return type == NULL
           || ngx_strlcasestrn(type->value.data,
                               type->value.data + type->value.len,
                               (u_char *) "json", 4 - 1)
              != NULL;
}


ngx_int_t
ngx_http_resilience_body_scan(ngx_http_resilience_call_t *call)
{
    u_char           texts[NGX_HTTP_RESILIENCE_TEXTS];
    llm_json_scan_t  scan;

    if (call->asked) {
        return NGX_OK;
    }

    llm_json_scan_init(&scan, ngx_http_resilience_names,
                       NGX_HTTP_RESILIENCE_NAMES, texts, sizeof(texts));

    if (ngx_http_resilience_body_read(call, ngx_http_resilience_body_scan_piece,
                                      &scan)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_resilience_body_asked(call, &scan);
}


static ngx_int_t
ngx_http_resilience_body_scan_piece(void *data, const u_char *p, size_t len)
{
    llm_json_scan_t *scan = data;

    (void) llm_json_scan(scan, p, len);

    return NGX_OK;
}


ngx_int_t
ngx_http_resilience_body_read(ngx_http_resilience_call_t *call,
    ngx_http_resilience_piece_pt piece, void *data)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    cl = call->request->request_body ? call->request->request_body->bufs
                                     : NULL;

    for (rc = NGX_OK; cl && rc == NGX_OK; cl = cl->next) {

        b = cl->buf;

        if (ngx_buf_in_memory(b)) {
            rc = piece(data, b->pos, b->last - b->pos);

        } else if (b->in_file) {
            rc = ngx_http_resilience_body_read_file(call, b, piece, data);
        }
    }

    return (rc == NGX_DONE) ? NGX_OK : rc;
}


static ngx_int_t
ngx_http_resilience_body_read_file(ngx_http_resilience_call_t *call,
    ngx_buf_t *b, ngx_http_resilience_piece_pt piece, void *data)
{
    off_t      pos;
    size_t     size;
    u_char    *buf;
    ssize_t    n;
    ngx_int_t  rc;

    buf = ngx_alloc(NGX_HTTP_RESILIENCE_READ,
                    call->request->connection->log);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_OK;

    for (pos = b->file_pos; pos < b->file_last && rc == NGX_OK; pos += n) {

        size = ngx_min(b->file_last - pos, NGX_HTTP_RESILIENCE_READ);

        n = ngx_read_file(b->file, buf, size, pos);

        if (n == NGX_ERROR || n == 0) {
            rc = NGX_ERROR;
            break;
        }

        rc = piece(data, buf, n);
    }

    ngx_free(buf);

    return rc;
}


/* keeps of it what is needed until the call's end */

static ngx_int_t
ngx_http_resilience_body_asked(ngx_http_resilience_call_t *call,
    llm_json_scan_t *scan)
{
    size_t                        size;
    u_char                        model[NGX_HTTP_RESILIENCE_MODEL];
    llm_str_t                     text, name;
    ngx_uint_t                    i, n, streams;
    ngx_pool_t                   *pool;
    ngx_http_resilience_asked_t  *asked;

    pool = call->request->pool;
    n = ngx_min(scan->nspans, LLM_JSON_SPANS);
    size = n * sizeof(llm_json_span_t);

    asked = ngx_pcalloc(pool, sizeof(ngx_http_resilience_asked_t) + size);
    if (asked == NULL) {
        return NGX_ERROR;
    }

    call->asked = asked;

    asked->length = scan->offset;
    asked->valid = (scan->status == LLM_JSON_DONE
                    && scan->nspans <= LLM_JSON_SPANS);

    if (!asked->valid) {
        return NGX_OK;
    }

    asked->nspans = n;
    ngx_memcpy(asked->spans, scan->spans, size);

    /* of several with one name it is the last that most readers heed */

    streams = 0;
    name.data = NULL;

    for (i = 0; i < n; i++) {
        text = llm_json_scan_text(scan, &scan->spans[i]);

        switch (scan->spans[i].name) {

        case NGX_HTTP_RESILIENCE_NAME_MODEL:
            name = text;
            asked->has_model = 1;
            break;

        case NGX_HTTP_RESILIENCE_NAME_STREAM:
            /* one that is told both is not a stream to rely on */
            asked->stream = (llm_json_kind(text) == 't'
                             && (asked->stream || streams == 0));
            streams++;
            break;

        default: /* NGX_HTTP_RESILIENCE_NAME_OPTIONS */
            asked->has_options = 1;

            if (ngx_http_resilience_body_copy(pool, &asked->options, text)
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    if (name.data) {
        size = llm_json_decode(name, model, NGX_HTTP_RESILIENCE_MODEL);

        if (size != (size_t) -1) {
            name.data = model;
            name.len = size;
            asked->named = 1;

            return ngx_http_resilience_body_copy(pool, &asked->model, name);
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_body_copy(ngx_pool_t *pool, ngx_str_t *to,
    llm_str_t from)
{
    to->len = from.len;
    to->data = NULL;

    if (from.len == 0) {
        return NGX_OK;
    }

    to->data = ngx_pnalloc(pool, from.len);
    if (to->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(to->data, from.data, from.len);

    return NGX_OK;
}


/* what the model in the body is to be called, NULL: as it is */

static ngx_http_resilience_model_t *
ngx_http_resilience_body_model(ngx_http_resilience_attempt_t *a)
{
    llm_str_t                     name;
    ngx_http_resilience_asked_t  *asked;

    asked = a->call->asked;

    if (a->step->provider->models == NULL || asked == NULL
        || !asked->has_model
        || ngx_http_resilience_model_in_path(a->call, a->step->provider,
                                             &name))
    {
        return NULL;
    }

    return ngx_http_resilience_model_match(a->step->provider,
                                        asked->named ? asked->model.data : NULL,
                                        asked->model.len);
}


ngx_int_t
ngx_http_resilience_body_model_name(ngx_http_resilience_call_t *call,
    ngx_http_resilience_attempt_t *a, ngx_str_t *name)
{
    llm_str_t                        path;
    ngx_http_resilience_step_t      *step;
    ngx_http_resilience_model_t     *model;
    ngx_http_resilience_provider_t  *provider;

    step = a ? a->step : call->chain->steps.elts;
    provider = step->provider;
    model = NULL;

    if (ngx_http_resilience_model_in_path(call, provider, &path)) {

        name->data = (u_char *) path.data;
        name->len = path.len;

        if (a && provider->models) {
            model = ngx_http_resilience_model_match(provider, path.data,
                                                    path.len);
        }

    } else {

        if (ngx_http_resilience_body_scan(call) != NGX_OK) {
            return NGX_ERROR;
        }

        *name = call->asked->model;
        model = a ? ngx_http_resilience_body_model(a) : NULL;
    }

    if (model) {
        *name = model->to;
    }

    return NGX_OK;
}


/*
 * Where a stream tells of tokens only if it is asked to, it is: all it is told
 * of its options is replaced, or they are added behind the "stream" itself.
 */

static ngx_int_t
ngx_http_resilience_body_ask(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_edit_t *edit)
{
    size_t                        len;
    u_char                       *p;
    llm_str_t                     path, options;
    ngx_uint_t                    i;
    ngx_http_request_t           *r;
    const llm_dialect_t          *dialect;
    ngx_http_resilience_asked_t  *asked;

    static ngx_str_t  behind = ngx_string("true,\"stream_options\":");

    asked = a->call->asked;

    if (asked == NULL || !asked->stream
        || (asked->has_options && asked->options.len == 0)
        || !ngx_http_resilience_body_asks(a->call, a->step))
    {
        return NGX_OK;
    }

    r = a->call->request;
    dialect = a->step->provider->dialect;

    path.len = r->uri.len;
    path.data = r->uri.data;
    options.len = asked->options.len;
    options.data = asked->options.data;

    len = dialect->ask_usage(NULL, path, options);

    if (len == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, behind.len + len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    edit->ask.data = p;

    if (!asked->has_options) {
        p = ngx_cpymem(p, behind.data, behind.len);
    }

    p += dialect->ask_usage(p, path, options);

    edit->ask.len = p - edit->ask.data;

    for (i = 0; i < asked->nspans; i++) {
        if (asked->spans[i].name == NGX_HTTP_RESILIENCE_NAME_STREAM) {
            edit->at = i;
        }
    }

    a->asks = 1;

    return NGX_OK;
}


/* what takes the place of the n-th value, NULL: nothing */

static ngx_str_t *
ngx_http_resilience_body_edited(ngx_http_resilience_asked_t *asked,
    ngx_http_resilience_edit_t *edit, ngx_uint_t n)
{
    switch (asked->spans[n].name) {

    case NGX_HTTP_RESILIENCE_NAME_MODEL:
        return edit->model;

    case NGX_HTTP_RESILIENCE_NAME_STREAM:
        return (edit->ask.len && !asked->has_options && n == edit->at)
                   ? &edit->ask : NULL;

    default: /* NGX_HTTP_RESILIENCE_NAME_OPTIONS */
        return edit->ask.len ? &edit->ask : NULL;
    }
}


ngx_int_t
ngx_http_resilience_body_prepare(ngx_http_resilience_attempt_t *a)
{
    ngx_http_resilience_edit_t    edit;
    ngx_http_resilience_model_t  *model;

    ngx_memzero(&edit, sizeof(ngx_http_resilience_edit_t));

    model = ngx_http_resilience_body_model(a);

    if (model) {
        edit.model = &model->json;
    }

    if (ngx_http_resilience_body_ask(a, &edit) != NGX_OK) {
        return NGX_ERROR;
    }

    if (edit.model == NULL && edit.ask.len == 0) {
        return NGX_OK;
    }

    return ngx_http_resilience_body_splice(a, &edit);
}


static ngx_int_t
ngx_http_resilience_body_splice(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_edit_t *edit)
{
    off_t                         length;
    uint64_t                      pos;
    ngx_str_t                    *text;
    ngx_uint_t                    i;
    ngx_pool_t                   *pool;
    ngx_chain_t                  *in, *cl, **last, *out;
    llm_json_span_t              *span;
    ngx_http_request_t           *r;
    ngx_http_request_body_t      *rb;
    ngx_http_resilience_asked_t  *asked;

    r = a->call->request;
    pool = r->pool;
    asked = a->call->asked;
    in = r->request_body->bufs;

    out = NULL;
    last = &out;
    pos = 0;
    length = (off_t) asked->length;

    for (i = 0; i < asked->nspans; i++) {

        text = ngx_http_resilience_body_edited(asked, edit, i);

        if (text == NULL) {
            continue;
        }

        span = &asked->spans[i];

        if (ngx_http_resilience_body_slice(pool, in, pos, span->start,
                                              &last)
            != NGX_OK
            || ngx_http_resilience_body_text(pool, text, &last) != NGX_OK)
        {
            return NGX_ERROR;
        }

        pos = span->end;
        length += (off_t) text->len - (off_t) (span->end - span->start);
    }

    if (ngx_http_resilience_body_slice(pool, in, pos, asked->length, &last)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (cl = out; cl->next; cl = cl->next) { /* void */ }

    cl->buf->last_buf = 1;

    rb = ngx_palloc(pool, sizeof(ngx_http_request_body_t));
    if (rb == NULL) {
        return NGX_ERROR;
    }

    *rb = *r->request_body;
    rb->bufs = out;
    rb->buf = NULL;

    a->request->request_body = rb;

    return ngx_http_resilience_request_length(a->request, length);
}


static ngx_int_t
ngx_http_resilience_body_text(ngx_pool_t *pool, ngx_str_t *text,
    ngx_chain_t ***last)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    b = ngx_calloc_buf(pool);
    cl = ngx_alloc_chain_link(pool);

    if (b == NULL || cl == NULL) {
        return NGX_ERROR;
    }

    b->pos = text->data;
    b->last = text->data + text->len;
    b->start = b->pos;
    b->end = b->last;
    b->memory = 1;

    cl->buf = b;
    cl->next = NULL;

    **last = cl;
    *last = &cl->next;

    return NGX_OK;
}


/* the bytes from..to of the body, by reference */

static ngx_int_t
ngx_http_resilience_body_slice(ngx_pool_t *pool, ngx_chain_t *in,
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
