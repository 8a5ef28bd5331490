
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_events.h"
#include "ngx_http_resilience_usage.h"


/*
 * What a provider answers, as it comes: held back until it is known to be
 * worth passing on, then passed on untouched, as the client's own request to
 * the filters below, so that those of its location are at work.
 *
 * An attempt commits when its answer can be the client's: at the header, at
 * the first meaningful event of a stream, when a short answer is complete, or
 * when no more can be held.  Before that nothing has reached the client and
 * the next attempt may start; after it there is no way back.
 */


static ngx_int_t ngx_http_resilience_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_uint_t ngx_http_resilience_filter_at_once(
    ngx_http_resilience_attempt_t *a);
static ngx_uint_t ngx_http_resilience_filter_coded(ngx_http_request_t *sr);
static ngx_uint_t ngx_http_resilience_filter_stream(ngx_http_request_t *sr);
static ngx_uint_t ngx_http_resilience_filter_bodyless(
    ngx_http_resilience_attempt_t *a);
static ngx_int_t ngx_http_resilience_filter_commit(
    ngx_http_resilience_attempt_t *a, res_outcome_e outcome);
static ngx_int_t ngx_http_resilience_filter_hold_stream(
    ngx_http_resilience_attempt_t *a, ngx_chain_t *in);
static ngx_int_t ngx_http_resilience_filter_hold(
    ngx_http_resilience_attempt_t *a, ngx_chain_t *in);
static ngx_int_t ngx_http_resilience_filter_give_up(
    ngx_http_resilience_attempt_t *a, ngx_chain_t *in);
static ngx_uint_t ngx_http_resilience_filter_too_much(
    ngx_http_resilience_attempt_t *a, ngx_chain_t *in);
static size_t ngx_http_resilience_filter_size(ngx_chain_t *in);
static ngx_int_t ngx_http_resilience_filter_keep(
    ngx_http_resilience_attempt_t *a, ngx_chain_t *in);
static ngx_chain_t *ngx_http_resilience_filter_end(
    ngx_http_resilience_attempt_t *a);
static ngx_int_t ngx_http_resilience_filter_release(
    ngx_http_resilience_attempt_t *a, res_outcome_e outcome, ngx_chain_t *in);
static ngx_int_t ngx_http_resilience_filter_pass(
    ngx_http_resilience_attempt_t *a, ngx_chain_t *in);
static ngx_int_t ngx_http_resilience_filter_output(
    ngx_http_resilience_attempt_t *a, ngx_chain_t *in);
static ngx_int_t ngx_http_resilience_filter_rest(
    ngx_http_resilience_attempt_t *a, ngx_chain_t **in);
static ngx_uint_t ngx_http_resilience_filter_complete(
    ngx_http_resilience_attempt_t *a);
static void ngx_http_resilience_filter_look(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


ngx_int_t
ngx_http_resilience_filter_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_resilience_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_resilience_body_filter;

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_header_filter(ngx_http_request_t *r)
{
    ngx_http_resilience_attempt_t  *a;

    a = ngx_http_resilience_get_attempt(r);

    if (a == NULL) {
        return ngx_http_next_header_filter(r);
    }

    if (a->state != NGX_HTTP_RESILIENCE_RUNNING) {
        r->header_sent = 1;
        return NGX_OK;
    }

    a->header = 1;
    a->seen = ngx_current_msec;
    a->status = r->headers_out.status;

    a->coded = ngx_http_resilience_filter_coded(r);

    if (a->status >= NGX_HTTP_BAD_REQUEST) {
        ngx_http_resilience_hint(a);
    }

    ngx_http_resilience_cache_header(a);

    if (a->cached && !ngx_http_resilience_stale_fits(a)) {
        a->judged = 1;
        a->outcome = RES_CANCELLED;
        r->header_sent = 1;
        return NGX_OK;
    }

    if (ngx_http_resilience_filter_at_once(a)) {
        return ngx_http_resilience_filter_commit(a,
                                      ngx_http_resilience_attempt_classify(a));
    }

    if (ngx_http_resilience_filter_stream(r) && !a->coded
        && ngx_http_resilience_events_init(a) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (a->status >= NGX_HTTP_SPECIAL_RESPONSE) {
        ngx_http_resilience_attempt_arm(a);
    }

    r->header_sent = 1;
    r->filter_need_in_memory = 1;

    return NGX_OK;
}


/* does the header say enough? */

static ngx_uint_t
ngx_http_resilience_filter_at_once(ngx_http_resilience_attempt_t *a)
{
    res_outcome_e                    outcome;
    ngx_http_resilience_provider_t  *provider;

    provider = a->step->provider;

    if (provider->dialect->event == NULL) {

        outcome = ngx_http_resilience_attempt_classify(a);

        if (a->grpc && outcome == RES_SUCCESS) {
            /* a message may follow, or a status that says something else */
            return 0;
        }

        return outcome == RES_SUCCESS
               || !ngx_http_resilience_route_moves_on(a, outcome);
    }

    return a->status < NGX_HTTP_SPECIAL_RESPONSE
           && (ngx_http_resilience_filter_bodyless(a)
               || (a->coded && ngx_http_resilience_filter_stream(a->request))
               || (provider->hold == 0
                   && !ngx_http_resilience_filter_stream(a->request)));
}


/* is the answer encoded, so that nothing of it can be read? */

static ngx_uint_t
ngx_http_resilience_filter_coded(ngx_http_request_t *sr)
{
    ngx_str_t        *value;
    ngx_table_elt_t  *h;

    h = sr->headers_out.content_encoding;

    if (h == NULL || h->hash == 0) {
        return 0;
    }

    value = &h->value;

    return value->len
           && (value->len != sizeof("identity") - 1
               || ngx_strncasecmp(value->data, (u_char *) "identity",
                                  sizeof("identity") - 1)
                  != 0);
}


static ngx_uint_t
ngx_http_resilience_filter_stream(ngx_http_request_t *sr)
{
    ngx_http_resilience_attempt_t  *a;

    a = ngx_http_resilience_get_attempt(sr);

    return a->step->provider->dialect->event
           && sr->headers_out.status == NGX_HTTP_OK
           && ngx_http_resilience_filter_events(sr);
}


ngx_uint_t
ngx_http_resilience_filter_events(ngx_http_request_t *sr)
{
    ngx_str_t  *type;

    type = &sr->headers_out.content_type;

    return type->len >= sizeof("text/event-stream") - 1
           && ngx_strncasecmp(type->data, (u_char *) "text/event-stream",
                              sizeof("text/event-stream") - 1)
              == 0;
}

static ngx_int_t
ngx_http_resilience_filter_commit(ngx_http_resilience_attempt_t *a,
    res_outcome_e outcome)
{
    a->outcome = a->cached ? RES_STALE : outcome;
    ngx_http_resilience_attempt_move(a, NGX_HTTP_RESILIENCE_COMMITTED);

    ngx_http_resilience_call_won(a);

    a->committed = 1;
    a->first_byte = ngx_current_msec - a->started;

    if (!ngx_http_resilience_cache_served(a->request)) {

        res_histogram_record(&a->step->provider->counters->first_byte,
                             a->first_byte, ngx_current_msec);

        if (outcome == RES_SUCCESS) {
            ngx_http_resilience_permit_commit(a);
        }
    }

    if (a->advice & LLM_ADVICE_MISFIT) {
        ngx_log_error(NGX_LOG_WARN, a->request->connection->log, 0,
                      "provider \"%V\" answered %ui, its endpoint or its "
                      "dialect may be wrong", &a->step->provider->name,
                      a->status);
    }

    /* from here on it is the gap between two pieces that is limited */

    ngx_http_resilience_attempt_arm(a);

    if (ngx_http_resilience_filter_bodyless(a)) {
        ngx_http_resilience_attempt_record(a);
    }

    return ngx_http_resilience_answer_header(a);
}


static ngx_uint_t
ngx_http_resilience_filter_bodyless(ngx_http_resilience_attempt_t *a)
{
    return a->request->method == NGX_HTTP_HEAD
           || a->status == NGX_HTTP_NO_CONTENT
           || a->status == NGX_HTTP_NOT_MODIFIED;
}


static ngx_int_t
ngx_http_resilience_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_http_resilience_attempt_t  *a;

    a = ngx_http_resilience_get_attempt(r);

    if (a == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    switch (a->state) {

    case NGX_HTTP_RESILIENCE_COMMITTED:
        return ngx_http_resilience_filter_pass(a, in);

    case NGX_HTTP_RESILIENCE_RUNNING:

        if (a->judged) {
            break;
        }

        if (a->sse) {
            return ngx_http_resilience_filter_hold_stream(a, in);
        }

        return ngx_http_resilience_filter_hold(a, in);

    default:
        break;
    }

    ngx_http_resilience_filter_discard(in);

    return NGX_OK;
}


/* a stream is held until an event means something */

static ngx_int_t
ngx_http_resilience_filter_hold_stream(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in)
{
    res_outcome_e                outcome;
    ngx_http_resilience_sight_e  sight;

    ngx_http_resilience_filter_look(a, in);

    if (ngx_http_resilience_events(a, in, &sight, &outcome) != NGX_OK) {
        return NGX_ERROR;
    }

    if (sight == NGX_HTTP_RESILIENCE_TROUBLE) {
        return ngx_http_resilience_filter_give_up(a, in);
    }

    if (a->strip) {
        in = ngx_http_resilience_strip_out(a->strip);
    }

    if (sight == NGX_HTTP_RESILIENCE_MEANING
        || ngx_http_resilience_filter_too_much(a, in))
    {
        return ngx_http_resilience_filter_release(a, outcome, in);
    }

    return ngx_http_resilience_filter_keep(a, in);
}


/* any other answer is held until it is whole, or until it is too much */

static ngx_int_t
ngx_http_resilience_filter_hold(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in)
{
    ngx_chain_t    *rest;
    res_outcome_e   outcome;

    ngx_http_resilience_filter_look(a, in);

    if (a->grpc && a->status == NGX_HTTP_OK
        && ngx_http_resilience_filter_size(in))
    {
        return ngx_http_resilience_filter_release(a, RES_SUCCESS, in);
    }

    if (ngx_http_resilience_filter_too_much(a, in)) {
        a->overflow = 1;
        a->whole = 0;
        rest = in;

    } else {
        if (ngx_http_resilience_filter_keep(a, in) != NGX_OK) {
            return NGX_ERROR;
        }

        if (!a->whole) {
            return NGX_OK;
        }

        rest = NULL;
    }

    outcome = ngx_http_resilience_attempt_classify(a);

    if (outcome == RES_SUCCESS
        || (!ngx_http_resilience_route_moves_on(a, outcome)
            && !(a->advice & LLM_ADVICE_STOP)))
    {
        if (rest) {
            ngx_http_resilience_filter_look(a, in);

        } else {
            rest = ngx_http_resilience_filter_end(a);
            if (rest == NULL) {
                return NGX_ERROR;
            }
        }

        return ngx_http_resilience_filter_release(a, outcome, rest);
    }

    a->outcome = outcome;
    a->judged = 1;

    if (a->whole) {
        /* its connection is left for the next request */

        ngx_http_resilience_filter_discard(in);
        return NGX_OK;
    }

    return ngx_http_resilience_filter_give_up(a, in);
}


/*
 * An error returned by a body filter would end the client's connection, and
 * the upstream that is at work here cannot be closed below its feet: the call
 * does it in a moment.
 */

static ngx_int_t
ngx_http_resilience_filter_give_up(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in)
{
    ngx_http_resilience_filter_discard(in);

    return ngx_http_resilience_call_wake(a->call);
}


static ngx_uint_t
ngx_http_resilience_filter_too_much(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in)
{
    size_t  limit;

    limit = ngx_max(a->step->provider->hold, (size_t) ngx_pagesize);

    if (a->status >= NGX_HTTP_BAD_REQUEST) {
        limit = ngx_max(limit, LLM_ERROR_BODY);
    }

    return a->held.size + ngx_http_resilience_filter_size(in) > limit;
}


static size_t
ngx_http_resilience_filter_size(ngx_chain_t *in)
{
    size_t        size;
    ngx_chain_t  *cl;

    size = 0;

    for (cl = in; cl; cl = cl->next) {
        if (ngx_buf_in_memory(cl->buf)) {
            size += cl->buf->last - cl->buf->pos;
        }
    }

    return size;
}


/* the provider's buffers are wanted for what comes next, so it is a copy */

static ngx_int_t
ngx_http_resilience_filter_keep(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in)
{
    size_t        size;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    size = ngx_http_resilience_filter_size(in);

    if (size == 0) {
        ngx_http_resilience_filter_discard(in);
        return NGX_OK;
    }

    b = ngx_create_temp_buf(a->request->pool, size);
    if (b == NULL) {
        return NGX_ERROR;
    }

    for (cl = in; cl; cl = cl->next) {
        if (ngx_buf_in_memory(cl->buf)) {
            b->last = ngx_cpymem(b->last, cl->buf->pos,
                                 cl->buf->last - cl->buf->pos);
        }
    }

    cl = ngx_alloc_chain_link(a->request->pool);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    cl->buf = b;
    cl->next = NULL;

    *a->held.last = cl;
    a->held.last = &cl->next;
    a->held.size += size;

    ngx_http_resilience_filter_discard(in);

    return NGX_OK;
}


/* the mark at the end of a subrequest's answer */

static ngx_chain_t *
ngx_http_resilience_filter_end(ngx_http_resilience_attempt_t *a)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    b = ngx_calloc_buf(a->request->pool);
    cl = ngx_alloc_chain_link(a->request->pool);

    if (b == NULL || cl == NULL) {
        return NULL;
    }

    b->sync = 1;
    b->last_in_chain = 1;

    cl->buf = b;
    cl->next = NULL;

    return cl;
}


/* commits, and passes on what was held and what has just come */

static ngx_int_t
ngx_http_resilience_filter_release(ngx_http_resilience_attempt_t *a,
    res_outcome_e outcome, ngx_chain_t *in)
{
    ngx_int_t     rc;
    ngx_chain_t  *out;

    rc = ngx_http_resilience_filter_commit(a, outcome);

    if (rc == NGX_ERROR || rc > NGX_OK || a->request->header_only) {
        ngx_http_resilience_filter_discard(in);
        return rc;
    }

    *a->held.last = in;
    out = a->held.chain;

    if (a->overflow) {
        ngx_http_resilience_usage_pass(a, out);
    }

    return ngx_http_resilience_filter_output(a, out);
}


static ngx_int_t
ngx_http_resilience_filter_pass(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in)
{
    res_outcome_e                outcome;
    ngx_http_resilience_sight_e  sight;

    ngx_http_resilience_filter_look(a, in);

    if (a->sse == NULL) {
        ngx_http_resilience_usage_pass(a, in);
        return ngx_http_resilience_filter_output(a, in);
    }

    if (a->broken) {
        ngx_http_resilience_filter_discard(in);
        return ngx_http_resilience_filter_output(a, in);
    }

    if (ngx_http_resilience_events(a, in, &sight, &outcome) != NGX_OK) {
        return NGX_ERROR;
    }

    if (a->strip && in) {
        in = ngx_http_resilience_strip_out(a->strip);

        if (in == NULL) {
            return NGX_OK;
        }
    }

    return ngx_http_resilience_filter_output(a, in);
}


/* what is left of a chain after a part of it was discarded */

static ngx_int_t
ngx_http_resilience_filter_rest(ngx_http_resilience_attempt_t *a,
    ngx_chain_t **in)
{
    ngx_chain_t  *cl, *out, **last, *link;

    out = NULL;
    last = &out;

    for (cl = *in; cl; cl = cl->next) {

        if (ngx_buf_size(cl->buf) == 0) {
            continue;
        }

        link = ngx_alloc_chain_link(a->request->pool);
        if (link == NULL) {
            return NGX_ERROR;
        }

        link->buf = cl->buf;
        link->next = NULL;

        *last = link;
        last = &link->next;
    }

    *in = out;

    return NGX_OK;
}


/*
 * The filters below are those of the client's request, which is therefore the
 * active one while they run: to the upstream it is the subrequest.  Or neither
 * of them: a filter may have made a subrequest of its own, as for an include,
 * that comes first; see ngx_http_resilience_call_stream().
 */

static ngx_int_t
ngx_http_resilience_filter_output(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in)
{
    ngx_int_t            rc;
    ngx_chain_t         *cl;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = a->call->request;

    for (cl = in; cl; cl = cl->next) {

        if (!cl->buf->last_in_chain) {
            continue;
        }

        /* the end of a subrequest's answer is that of the client's, or none */

        cl->buf->last_in_chain = 0;

        if (!a->broken && (a->sse == NULL || a->terminal)) {
            cl->buf->last_buf = 1;
            a->ended = 1;

            ngx_http_resilience_answer_trailers(a);
        }
    }

    if (ngx_http_resilience_filter_complete(a)) {
        ngx_http_resilience_attempt_record(a);
    }

    if (a->broken && in
        && (ngx_http_resilience_filter_rest(a, &in) != NGX_OK || in == NULL))
    {
        return NGX_OK;
    }

    c = r->connection;

    if (c->data == a->request) {
        c->data = r;
    }

    rc = ngx_http_next_body_filter(r, in);

    if (c->data == r) {
        c->data = a->request;
    }

    if (a->strip) {
        a->held.chain = NULL;
        ngx_http_resilience_strip_sent(a->strip, in);
    }

    return rc;
}


/*
 * Has the provider done its part, be the client slow or not?  The last piece
 * of a body of known length comes before the mark of its end.
 */

static ngx_uint_t
ngx_http_resilience_filter_complete(ngx_http_resilience_attempt_t *a)
{
    ngx_http_upstream_t  *u;

    if (a->broken || (a->sse && !a->terminal)) {
        return 0;
    }

    u = a->request->upstream;

    if (a->ended || u == NULL || a->grpc) {
        /* of gRPC, trailers tell how it went */
        return a->ended;
    }

    return u->buffering ? u->pipe && u->pipe->upstream_done : u->length == 0;
}


/* notes signs of life and the end */

static void
ngx_http_resilience_filter_look(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in)
{
    u_char       *p;
    ngx_chain_t  *cl;

    for (cl = in; cl; cl = cl->next) {

        if (cl->buf->last_in_chain || cl->buf->last_buf) {
            a->whole = 1;
        }

        if (ngx_buf_size(cl->buf) == 0) {
            continue;
        }

        a->seen = ngx_current_msec;

        if (a->body || !ngx_buf_in_memory(cl->buf)) {
            continue;
        }

        /* a provider may send blank lines while a request is queued */

        for (p = cl->buf->pos; p < cl->buf->last; p++) {
            if (*p > ' ') {
                a->body = 1;
                ngx_http_resilience_attempt_arm(a);
                break;
            }
        }
    }
}


void
ngx_http_resilience_filter_discard(ngx_chain_t *in)
{
    ngx_chain_t  *cl;

    for (cl = in; cl; cl = cl->next) {
        cl->buf->pos = cl->buf->last;
        cl->buf->file_pos = cl->buf->file_last;
    }
}
