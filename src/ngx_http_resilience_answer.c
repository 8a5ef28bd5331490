
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/* what the client gets: a provider's answer, or one of our own */


static ngx_int_t ngx_http_resilience_answer_copy(ngx_http_request_t *r,
    ngx_http_request_t *sr);
static ngx_int_t ngx_http_resilience_answer_after(ngx_http_request_t *r,
    ngx_msec_t ms);
static const char *ngx_http_resilience_answer_why(
    ngx_http_resilience_call_t *call);
static ngx_int_t ngx_http_resilience_answer_kept(
    ngx_http_resilience_call_t *call);
static ngx_int_t ngx_http_resilience_answer_broken(
    ngx_http_resilience_attempt_t *a);
static ngx_uint_t ngx_http_resilience_answer_paged(ngx_http_request_t *r,
    ngx_uint_t status);


ngx_int_t
ngx_http_resilience_answer_header(ngx_http_resilience_attempt_t *a)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r, *sr;

    sr = a->request;
    r = sr->main;

    if (ngx_http_resilience_answer_copy(r, sr) != NGX_OK
        || ngx_http_resilience_answer_tell(a->call) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (a->cached && ngx_http_resilience_stale_tell(a) != NGX_OK) {
        return NGX_ERROR;
    }

    r->disable_not_modified = 1;

    if (a->strip) {
        ngx_http_clear_content_length(r);
    }

    if (sr->upstream && !sr->upstream->buffering) {

        /* as in nginx: what is not buffered is not limited */

        r->limit_rate = 0;
        r->limit_rate_set = 1;
    }

    rc = ngx_http_send_header(r);

    /* the client's events are the subrequest's from now on */

    r->connection->data = sr;

    /* what reads files for the filters does it in there, too */

    sr->filter_need_in_memory |= r->filter_need_in_memory;
    sr->filter_need_temporary |= r->filter_need_temporary;
    sr->main_filter_need_in_memory |= r->main_filter_need_in_memory;

    sr->header_only = r->header_only;

    return rc;
}


static ngx_int_t
ngx_http_resilience_answer_copy(ngx_http_request_t *r, ngx_http_request_t *sr)
{
    ngx_list_t        own;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h, *copy;

    own = r->headers_out.headers;

    if (own.last == &r->headers_out.headers.part) {
        own.last = &own.part;
    }

    r->headers_out = sr->headers_out;

    if (sr->headers_out.headers.last == &sr->headers_out.headers.part) {
        r->headers_out.headers.last = &r->headers_out.headers.part;
    }

    if (sr->headers_out.trailers.last == &sr->headers_out.trailers.part) {
        r->headers_out.trailers.last = &r->headers_out.trailers.part;
    }

    /* what other modules had added for the client before */

    part = &own.part;
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

        copy = ngx_list_push(&r->headers_out.headers);
        if (copy == NULL) {
            return NGX_ERROR;
        }

        *copy = h[i];
    }

    return NGX_OK;
}


/* gRPC: a status that comes after a message is the outcome still */

void
ngx_http_resilience_answer_trailers(ngx_http_resilience_attempt_t *a)
{
    ngx_http_request_t  *r, *sr;

    r = a->call->request;
    sr = a->request;

    r->headers_out.trailers = sr->headers_out.trailers;

    if (sr->headers_out.trailers.last == &sr->headers_out.trailers.part) {
        r->headers_out.trailers.last = &r->headers_out.trailers.part;
    }

    if (a->grpc && a->outcome == RES_SUCCESS) {
        ngx_http_resilience_grpc(a);
        a->outcome = res_outcome_grpc((unsigned) a->grpc_status,
                                      a->step->provider->key != NULL);
    }
}


/* resilience_headers */

ngx_int_t
ngx_http_resilience_answer_tell(ngx_http_resilience_call_t *call)
{
    ngx_str_t                        value;
    ngx_http_request_t              *r;
    ngx_http_resilience_attempt_t   *a;
    ngx_http_resilience_loc_conf_t  *rlcf;
    u_char                           buf[NGX_INT_T_LEN];

    r = call->request;
    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_resilience_module);

    if (!rlcf->headers) {
        return NGX_OK;
    }

    a = call->winner ? call->winner : call->kept.attempt;

    if (a && ngx_http_resilience_answer_add(r, "X-Resilience-Provider",
                                            &a->step->provider->name)
             != NGX_OK)
    {
        return NGX_ERROR;
    }

    value.data = buf;
    value.len = ngx_sprintf(buf, "%ui", call->attempts) - buf;

    if (ngx_http_resilience_answer_add(r, "X-Resilience-Attempts", &value)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    value.data = (u_char *) res_outcome_name(
                                       ngx_http_resilience_call_outcome(call));
    value.len = ngx_strlen(value.data);

    return ngx_http_resilience_answer_add(r, "X-Resilience-Outcome", &value);
}


ngx_int_t
ngx_http_resilience_answer_end(ngx_http_resilience_attempt_t *a)
{
    ngx_http_request_t  *r;

    r = a->call->request;

    if (r->header_only || a->ended) {
        return NGX_OK;
    }

    if (a->state == NGX_HTTP_RESILIENCE_COMPLETED) {
        ngx_http_resilience_answer_trailers(a);
        return ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    if (a->told) {
        return ngx_http_send_special(r, NGX_HTTP_LAST);
    }

    return ngx_http_resilience_answer_broken(a);
}


/*
 * A stream ends with an error that its reader understands; anything else can
 * only be cut.
 */

static ngx_int_t
ngx_http_resilience_answer_broken(ngx_http_resilience_attempt_t *a)
{
    size_t                len;
    u_char               *p;
    ngx_buf_t            *b;
    ngx_chain_t           out;
    ngx_uint_t            status;
    const char           *code, *message;
    ngx_http_request_t   *r;
    const llm_dialect_t  *dialect;

    r = a->call->request;
    dialect = a->step->provider->dialect;

    if (a->sse == NULL || dialect->error_event == NULL
        || r->headers_out.content_length_n != -1)
    {
        r->keepalive = 0;
        return NGX_ERROR;
    }

    status = NGX_HTTP_BAD_GATEWAY;
    code = res_outcome_name(a->outcome);
    message = "the provider's stream broke off";

    len = 2 + dialect->error_event(NULL, &a->stream, status, code, message);

    b = ngx_create_temp_buf(r->pool, len);
    if (b == NULL) {
        return NGX_ERROR;
    }

    p = b->pos;

    if (!llm_sse_between(a->sse)) {
        *p++ = LF;
        *p++ = LF;
    }

    p += dialect->error_event(p, &a->stream, status, code, message);

    b->last = p;
    b->last_buf = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_http_resilience_answer_spent(ngx_http_resilience_call_t *call,
    ngx_uint_t status)
{
    ngx_str_t                     value;
    ngx_http_request_t           *r;
    ngx_http_resilience_step_t   *step;
    ngx_http_resilience_chain_t  *chain;

    r = call->request;
    chain = call->chain;
    step = chain->steps.elts;

    if (step[0].provider->dialect->event
        && call->outcome != RES_SHUTDOWN)
    {

        /* every further try of the client's would be multiplied by ours */

        ngx_str_set(&value, "false");

        if (ngx_http_resilience_answer_add(r, "x-should-retry", &value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (chain->fallback.status) {
        return ngx_http_resilience_fallback_send(call);
    }

    if (call->kept.attempt) {
        return ngx_http_resilience_answer_kept(call);
    }

    if (status == NGX_HTTP_SERVICE_UNAVAILABLE
        && ngx_http_resilience_answer_retry_after(call) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_resilience_answer_error(call, status,
                                       res_outcome_name(call->outcome),
                                       ngx_http_resilience_answer_why(call));
}


/* Retry-After, in whole seconds */

static ngx_int_t
ngx_http_resilience_answer_after(ngx_http_request_t *r, ngx_msec_t ms)
{
    ngx_str_t  value;
    u_char     buf[NGX_INT_T_LEN];

    value.data = buf;
    value.len = ngx_sprintf(buf, "%M", ngx_max((ms + 999) / 1000, 1)) - buf;

    return ngx_http_resilience_answer_add(r, "Retry-After", &value);
}


/*
 * By the breakers, or by what the providers asked for: the earliest moment at
 * which one of them might take a request.
 */

ngx_int_t
ngx_http_resilience_answer_retry_after(ngx_http_resilience_call_t *call)
{
    ngx_msec_t                      wait;
    ngx_http_resilience_attempt_t  *a;

    wait = call->refused ? ngx_max(call->retry_after, 1) : 0;

    for (a = call->attempt; a; a = a->next) {
        if (a->hint && (wait == 0 || a->hint < wait)) {
            wait = a->hint;
        }
    }

    return wait ? ngx_http_resilience_answer_after(call->request, wait)
                : NGX_OK;
}


/* which limit ended it, if it was one */

static const char *
ngx_http_resilience_answer_why(ngx_http_resilience_call_t *call)
{
    u_char      *p;
    const char  *limit;

    if (call->outcome != RES_TIMEOUT) {
        return "no provider could answer";
    }

    limit = ngx_http_resilience_phase_name(
                (call->attempt && call->attempt->outcome == RES_TIMEOUT
                 && call->attempt->limit)
                    ? call->attempt->limit : NGX_HTTP_RESILIENCE_TOTAL);

    p = ngx_pnalloc(call->request->pool, 128);
    if (p == NULL) {
        return "no provider answered in time";
    }

    *ngx_snprintf(p, 127, "no provider answered in time, the limit that ended "
                  "the call is \"%s\"", limit) = '\0';

    return (char *) p;
}


static ngx_int_t
ngx_http_resilience_answer_kept(ngx_http_resilience_call_t *call)
{
    ngx_int_t                       rc;
    ngx_buf_t                      *b;
    ngx_chain_t                    *cl, **ll;
    ngx_table_elt_t                *h;
    ngx_http_request_t             *r;
    ngx_http_resilience_attempt_t  *a;

    r = call->request;
    a = call->kept.attempt;

    if (!a->header || !a->whole || a->overflow) {

        if (a->hint
            && ngx_http_resilience_answer_after(r, a->hint) != NGX_OK)
        {
            return NGX_ERROR;
        }

        return ngx_http_resilience_answer_error(call, a->status,
                                              res_outcome_name(a->outcome),
                                              "the provider's error was lost");
    }

    /* ours takes the place of the provider's */

    h = ngx_http_resilience_header(&a->request->headers_out.headers,
                                   "x-should-retry");
    if (h && ngx_http_resilience_header(&r->headers_out.headers,
                                        "x-should-retry"))
    {
        h->hash = 0;
    }

    if (ngx_http_resilience_answer_copy(r, a->request) != NGX_OK
        || ngx_http_resilience_answer_tell(call) != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->disable_not_modified = 1;

    if (r->method != NGX_HTTP_HEAD && !a->grpc) {
        ngx_http_clear_content_length(r);
        r->headers_out.content_length_n = a->held.size;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->last_buf = 1;

    ll = &a->held.chain;

    for (cl = a->held.chain; cl; cl = cl->next) {
        ll = &cl->next;
    }

    cl = ngx_alloc_chain_link(r->pool);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    cl->buf = b;
    cl->next = NULL;

    *ll = cl;

    return ngx_http_output_filter(r, a->held.chain);
}


ngx_int_t
ngx_http_resilience_answer_error(ngx_http_resilience_call_t *call,
    ngx_uint_t status, const char *code, const char *message)
{
    ngx_str_t                    type, body;
    ngx_http_request_t          *r;
    const llm_dialect_t         *dialect;
    ngx_http_resilience_step_t  *step;

    r = call->request;
    step = call->chain->steps.elts;
    dialect = step[0].provider->dialect;

    /* the user's own page wins */

    if (ngx_http_resilience_answer_paged(r, status)) {

        if (ngx_http_resilience_answer_tell(call) != NGX_OK) {
            return NGX_ERROR;
        }

        return status;
    }

    body.len = dialect->error_body(NULL, status, code, message);
    body.data = ngx_pnalloc(r->pool, body.len);

    if (body.data == NULL) {
        return NGX_ERROR;
    }

    body.len = dialect->error_body(body.data, status, code, message);

    type.len = dialect->error_type.len;
    type.data = (u_char *) dialect->error_type.data;

    if (ngx_http_resilience_answer_tell(call) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_resilience_answer_send(r, status, &type, &body);
}


static ngx_uint_t
ngx_http_resilience_answer_paged(ngx_http_request_t *r, ngx_uint_t status)
{
    ngx_uint_t                 i;
    ngx_http_err_page_t       *page;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->error_pages == NULL) {
        return 0;
    }

    page = clcf->error_pages->elts;

    for (i = 0; i < clcf->error_pages->nelts; i++) {
        if (page[i].status == (ngx_int_t) status) {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_resilience_answer_send(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *type, ngx_str_t *body)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    r->headers_out.status = status;
    r->headers_out.content_length_n = body->len;
    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_type_lowcase = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    if (body->len) {
        b->pos = body->data;
        b->last = body->data + body->len;
        b->memory = 1;
    }

    b->last_buf = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
ngx_http_resilience_answer_add(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value.len = value->len;
    h->value.data = ngx_pstrdup(r->pool, value);

    if (h->value.data == NULL) {
        return NGX_ERROR;
    }

    ngx_http_resilience_unlink(h);

    return NGX_OK;
}
