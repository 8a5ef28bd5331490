
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/* a client that says more, ms, has no deadline */
#define NGX_HTTP_RESILIENCE_DEADLINE_MAX  (24 * 3600 * 1000)


/*
 * A call: one request of a client, run down a chain.
 *
 * Attempts report their end by ngx_http_resilience_call_settle(), which only
 * posts the client's request; what comes next is decided when it is run, off
 * the stack of whatever ended.  Wake-ups for other reasons change nothing.
 */


static void ngx_http_resilience_call_start(ngx_http_request_t *r);
static void ngx_http_resilience_call_write(ngx_http_request_t *r);
static void ngx_http_resilience_call_stream(ngx_http_request_t *r);
static void ngx_http_resilience_call_resume(ngx_http_request_t *r);
static void ngx_http_resilience_call_waited(ngx_event_t *ev);
static ngx_uint_t ngx_http_resilience_call_status(
    ngx_http_resilience_call_t *call);
static void ngx_http_resilience_call_failed(ngx_http_resilience_call_t *call,
    ngx_http_resilience_attempt_t *a);
static void ngx_http_resilience_call_end(ngx_http_resilience_call_t *call);
static void ngx_http_resilience_call_cleanup(void *data);
static void ngx_http_resilience_call_forget(void *data);
static ngx_http_resilience_call_t *ngx_http_resilience_call_create(
    ngx_http_request_t *r, ngx_http_resilience_chain_t *chain);
static ngx_int_t ngx_http_resilience_call_chain(ngx_http_request_t *r,
    ngx_http_resilience_chain_t **chain);
static ngx_int_t ngx_http_resilience_call_refuse(
    ngx_http_resilience_call_t *call, res_outcome_e outcome,
    ngx_uint_t status, const char *code, const char *message);
static void ngx_http_resilience_call_headers(ngx_http_resilience_call_t *call);
static void ngx_http_resilience_call_deadline(ngx_http_resilience_call_t *call,
    ngx_str_t *value);


static ngx_queue_t  ngx_http_resilience_calls = {
    &ngx_http_resilience_calls, &ngx_http_resilience_calls
};

static ngx_uint_t   ngx_http_resilience_ending;

static ngx_queue_t  ngx_http_resilience_ended = {
    &ngx_http_resilience_ended, &ngx_http_resilience_ended
};


ngx_int_t
ngx_http_resilience_handler(ngx_http_request_t *r)
{
    ngx_int_t                         rc;
    ngx_http_resilience_call_t       *call;
    ngx_http_resilience_chain_t      *chain;

    if (r != r->main) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "\"resilience_pass\" cannot be reached by a subrequest");
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_resilience_call_chain(r, &chain);
    if (rc != NGX_OK) {
        return rc;
    }

    call = ngx_http_resilience_call_create(r, chain);
    if (call == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_resilience_tenant_get(r, call->zone, &call->tenant);

    if (rc == NGX_HTTP_UNAUTHORIZED) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "call without a tenant refused");

        return ngx_http_resilience_call_refuse(call, RES_CLIENT_ERROR,
                                               NGX_HTTP_UNAUTHORIZED,
                                               "no_tenant",
                                               "the tenant is not given");
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_read_client_request_body(r, ngx_http_resilience_call_start);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


/* before it has begun */

static ngx_int_t
ngx_http_resilience_call_refuse(ngx_http_resilience_call_t *call,
    res_outcome_e outcome, ngx_uint_t status, const char *code,
    const char *message)
{
    ngx_int_t  rc;

    call->outcome = outcome;
    ngx_http_resilience_call_end(call);

    rc = ngx_http_discard_request_body(call->request);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_resilience_answer_error(call, status, code, message);
}


void
ngx_http_resilience_call_limited(ngx_http_request_t *r, const char *message)
{
    ngx_int_t                     rc;
    ngx_http_resilience_call_t   *call;
    ngx_http_resilience_chain_t  *chain;

    rc = ngx_http_resilience_call_chain(r, &chain);

    if (rc != NGX_OK) {
        ngx_http_finalize_request(r, rc);
        return;
    }

    call = ngx_http_resilience_call_create(r, chain);

    if (call == NULL) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    if (ngx_http_resilience_tenant_get(r, call->zone, &call->tenant)
        != NGX_OK)
    {
        ngx_str_set(&call->tenant, "-");
    }

    rc = ngx_http_resilience_call_refuse(call, RES_LIMITED,
                                         NGX_HTTP_TOO_MANY_REQUESTS,
                                         res_outcome_name(RES_LIMITED),
                                         message);

    ngx_http_finalize_request(r, rc);
}


static ngx_int_t
ngx_http_resilience_call_chain(ngx_http_request_t *r,
    ngx_http_resilience_chain_t **chain)
{
    ngx_str_t                         name;
    ngx_http_resilience_loc_conf_t   *rlcf;
    ngx_http_resilience_main_conf_t  *rmcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_resilience_module);

    if (rlcf->chain_value == NULL) {
        *chain = rlcf->chain;
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, rlcf->chain_value, &name) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rmcf = ngx_http_get_module_main_conf(r, ngx_http_resilience_module);

    *chain = ngx_http_resilience_chain_find(rmcf, &name);

    if (*chain == NULL) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "unknown chain or provider \"%V\" in "
                      "\"resilience_pass\"", &name);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_OK;
}


static ngx_http_resilience_call_t *
ngx_http_resilience_call_create(ngx_http_request_t *r,
    ngx_http_resilience_chain_t *chain)
{
    ngx_http_cleanup_t               *cln;
    ngx_pool_cleanup_t               *pcln;
    ngx_http_resilience_call_t       *call;
    ngx_http_resilience_step_t       *step;
    ngx_http_resilience_main_conf_t  *rmcf;

    call = ngx_pcalloc(r->pool, sizeof(ngx_http_resilience_call_t));
    if (call == NULL) {
        return NULL;
    }

    if (ngx_array_init(&call->trace, r->pool, 4,
                       sizeof(ngx_http_resilience_trace_t))
        != NGX_OK)
    {
        return NULL;
    }

    cln = ngx_http_cleanup_add(r, 0);
    pcln = ngx_pool_cleanup_add(r->pool, 0);

    if (cln == NULL || pcln == NULL) {
        return NULL;
    }

    ngx_queue_insert_tail(&ngx_http_resilience_calls, &call->queue);

    cln->handler = ngx_http_resilience_call_cleanup;
    cln->data = call;

    pcln->handler = ngx_http_resilience_call_forget;
    pcln->data = call;

    rmcf = ngx_http_get_module_main_conf(r, ngx_http_resilience_module);
    step = chain->steps.elts;

    call->request = r;
    call->chain = chain;
    call->zone = rmcf->zone;
    call->outcome = RES_CLIENT_ABORT;
    call->started = ngx_current_msec;

    /* the first provider's policy is the call's */

    call->policy = step[0].policy;

    if (call->policy->total) {
        call->deadline = call->started + call->policy->total;
    }

    ngx_http_set_ctx(r, call, ngx_http_resilience_module);

    return call;
}


/*
 * An error page's redirect clears the contexts, yet the access log wants to
 * know: the call is found by its mark on the pool, too.
 */

ngx_http_resilience_call_t *
ngx_http_resilience_get_call(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t          *cln;
    ngx_http_resilience_call_t  *call;

    r = r->main;

    call = ngx_http_get_module_ctx(r, ngx_http_resilience_module);

    if (call) {
        return call;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_resilience_call_forget) {
            return cln->data;
        }
    }

    return NULL;
}


static void
ngx_http_resilience_call_forget(void *data)
{
    /* void: the mark is all there is to it */
}


static void
ngx_http_resilience_call_start(ngx_http_request_t *r)
{
    ngx_connection_t            *c;
    ngx_http_resilience_call_t  *call;

    c = r->connection;
    call = ngx_http_resilience_get_call(r);

    call->steps = ngx_http_resilience_balance(call);

    if (call->steps == NULL) {
        ngx_http_resilience_call_finish(call, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    ngx_http_resilience_call_headers(call);

    if (ngx_http_resilience_bound(call) != NGX_OK) {
        ngx_http_resilience_call_finish(call, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    call->timer.handler = ngx_http_resilience_call_waited;
    call->timer.data = call;
    call->timer.log = c->log;

    /*
     * A client that goes away is noticed at any time, also if it went while
     * its body was read: a close that has been seen gives no other event.
     */

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_resilience_call_write;

#if (NGX_HTTP_V2)
    if (r->stream == NULL)
#endif
    {
        if (c->read->timer_set) {
            ngx_del_timer(c->read);
        }

        if (c->read->ready) {
            ngx_post_event(c->read, &ngx_posted_events);

        } else if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
            ngx_http_resilience_call_finish(call,
                                            NGX_HTTP_INTERNAL_SERVER_ERROR);
            return;
        }
    }

    if (ngx_http_resilience_ending) {
        call->outcome = RES_SHUTDOWN;
        ngx_http_resilience_call_spent(call);
        return;
    }

    ngx_http_resilience_route_next(call);
}


static void
ngx_http_resilience_call_headers(ngx_http_resilience_call_t *call)
{
    ngx_uint_t           i;
    ngx_list_part_t     *part;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *r;

    r = call->request;

    call->resendable = !(r->method & (NGX_HTTP_POST|NGX_HTTP_PATCH
                                      |NGX_HTTP_LOCK|NGX_HTTP_UNKNOWN));

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

        if (call->policy->deadline_header.len == h[i].key.len
            && ngx_strncmp(h[i].lowcase_key,
                           call->policy->deadline_header.data, h[i].key.len)
               == 0)
        {
            ngx_http_resilience_call_deadline(call, &h[i].value);
        }

        switch (h[i].key.len) {

        case sizeof("Connection") - 1:
            if (ngx_strncmp(h[i].lowcase_key, "connection", 10) == 0
                && ngx_strcasecmp(h[i].value.data, (u_char *) "keep-alive")
                   != 0
                && ngx_strcasecmp(h[i].value.data, (u_char *) "close") != 0)
            {
                call->names_headers = 1;
            }

            break;

        case sizeof("Idempotency-Key") - 1:
            if (ngx_strncmp(h[i].lowcase_key, "idempotency-key", 15) == 0
                && h[i].value.len)
            {
                call->resendable = 1;
            }

            break;

        case sizeof("X-Resilience-Fallback") - 1:
            if (ngx_strncmp(h[i].lowcase_key, "x-resilience-fallback", 21) == 0
                && h[i].value.len == 3
                && ngx_strncasecmp(h[i].value.data, (u_char *) "off", 3) == 0)
            {
                call->no_fallback = 1;
            }

            break;
        }
    }
}


res_outcome_e
ngx_http_resilience_call_outcome(ngx_http_resilience_call_t *call)
{
    return (call->state == NGX_HTTP_RESILIENCE_CALL_STREAMING)
               ? call->winner->outcome : call->outcome;
}


/* the client may have less time than we would give it, never more */

static void
ngx_http_resilience_call_deadline(ngx_http_resilience_call_t *call,
    ngx_str_t *value)
{
    ngx_int_t   ms;
    ngx_msec_t  deadline;

    ms = ngx_atoi(value->data, value->len);

    if (ms == NGX_ERROR || ms > NGX_HTTP_RESILIENCE_DEADLINE_MAX) {
        return;
    }

    deadline = call->started + ms;

    if (call->deadline == 0
        || (ngx_msec_int_t) (deadline - call->deadline) < 0)
    {
        call->deadline = deadline;
    }
}


ngx_msec_int_t
ngx_http_resilience_call_left(ngx_http_resilience_call_t *call)
{
    if (call->deadline == 0) {
        return NGX_MAX_INT_T_VALUE;
    }

    return (ngx_msec_int_t) (call->deadline - ngx_current_msec);
}


void
ngx_http_resilience_call_settle(ngx_http_resilience_attempt_t *a)
{
    ngx_http_resilience_call_t  *call;

    call = a->call;

    call->running--;
    call->settled = a;

    if (!a->cached || a == call->winner) {
        ngx_http_resilience_call_trace(call, a->step->provider, a->outcome,
                                       a->status,
                                       ngx_current_msec - a->started);
    }

    if (a->reason != NGX_HTTP_RESILIENCE_SUPERSEDED && a != call->winner
        && !a->cached)
    {
        ngx_http_resilience_call_failed(call, a);
    }

    if (call->state == NGX_HTTP_RESILIENCE_CALL_DONE
        || (call->winner && call->winner != a)
        || (call->winner == NULL && call->running))
    {
        return;
    }

    if (call->timer.timer_set) {
        ngx_del_timer(&call->timer);
    }

    call->state = NGX_HTTP_RESILIENCE_CALL_SETTLING;

    (void) ngx_http_resilience_call_wake(call);
}


static void
ngx_http_resilience_call_failed(ngx_http_resilience_call_t *call,
    ngx_http_resilience_attempt_t *a)
{
    if ((a->status >= NGX_HTTP_BAD_REQUEST || a->grpc_status)
        && (call->kept.attempt == NULL
            || a->number < call->kept.attempt->number))
    {
        call->kept.attempt = a;
    }

    if (call->running || call->hedges) {
        /* it is not retried, be it the last to end or not */
        ngx_http_resilience_rest(a);
    }
}


void
ngx_http_resilience_call_won(ngx_http_resilience_attempt_t *a)
{
    ngx_http_resilience_call_t     *call;
    ngx_http_resilience_attempt_t  *other;

    call = a->call;

    call->winner = a;
    call->state = NGX_HTTP_RESILIENCE_CALL_STREAMING;
    call->request->write_event_handler = ngx_http_resilience_call_stream;
    call->first_byte = ngx_current_msec - call->started;

    if (call->timer.timer_set) {
        ngx_del_timer(&call->timer);
    }

    if (a->hedge) {
        (void) ngx_atomic_fetch_add(&a->step->provider->counters->hedges_won,
                                    1);
    }

    for (other = call->attempt; other; other = other->next) {
        if (other != a) {
            ngx_http_resilience_attempt_cancel(other,
                                               NGX_HTTP_RESILIENCE_SUPERSEDED,
                                               RES_CANCELLED);
        }
    }
}


ngx_int_t
ngx_http_resilience_call_wake(ngx_http_resilience_call_t *call)
{
    ngx_http_request_t  *r;

    r = call->request;

    r->write_event_handler = ngx_http_resilience_call_resume;

    if (ngx_http_post_request(r, NULL) != NGX_OK) {
        ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                      "no memory to go on with a call");
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * An event of the client's connection may be for an attempt that has no
 * upstream yet: "limit_req" in its location waits with its write timer.
 */

static void
ngx_http_resilience_call_write(ngx_http_request_t *r)
{
    ngx_http_resilience_call_t     *call;
    ngx_http_resilience_attempt_t  *a;

    call = ngx_http_resilience_get_call(r);

    if (call->state != NGX_HTTP_RESILIENCE_CALL_RUNNING) {
        return;
    }

    for (a = call->attempt; a; a = a->next) {
        if (a->state == NGX_HTTP_RESILIENCE_RUNNING
            && a->request->upstream == NULL)
        {
            a->request->write_event_handler(a->request);
            return;
        }
    }
}


/*
 * The write handler while an answer is passed on: filters' subrequests that
 * came before what follows of it are over.
 */

static void
ngx_http_resilience_call_stream(ngx_http_request_t *r)
{
    ngx_connection_t            *c;
    ngx_http_request_t          *sr;
    ngx_http_resilience_call_t  *call;

    c = r->connection;

    if (c->data != r) {
        return;
    }

    /* what was postponed behind them; it may hold another one */

    if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    if (c->data != r) {
        return;
    }

    call = ngx_http_resilience_get_call(r);
    sr = call->winner->request;

    c->data = sr;

    sr->write_event_handler(sr);
}


static void
ngx_http_resilience_call_resume(ngx_http_request_t *r)
{
    ngx_http_resilience_call_t     *call;
    ngx_http_resilience_attempt_t  *a;

    call = ngx_http_resilience_get_call(r);

    r->write_event_handler = ngx_http_resilience_call_write;

    if (call->state == NGX_HTTP_RESILIENCE_CALL_RUNNING) {

        /* what comes of it is seen when this is run again */

        for (a = call->attempt; a; a = a->next) {
            if (a->judged) {
                ngx_http_resilience_attempt_cancel(a,
                                             NGX_HTTP_RESILIENCE_NOT_CANCELLED,
                                             a->outcome);
            }
        }

        return;
    }

    if (call->state == NGX_HTTP_RESILIENCE_CALL_SETTLING) {
        ngx_http_resilience_route_on(call);
    }
}


void
ngx_http_resilience_call_wait(ngx_http_resilience_call_t *call,
    ngx_msec_t delay)
{
    call->state = NGX_HTTP_RESILIENCE_CALL_WAITING;
    call->waited += delay;

    ngx_add_timer(&call->timer, delay);
}


static void
ngx_http_resilience_call_waited(ngx_event_t *ev)
{
    ngx_connection_t            *c;
    ngx_http_resilience_call_t  *call;

    call = ev->data;
    c = call->request->connection;

    ngx_http_set_log_request(c->log, call->request);

    if (call->state == NGX_HTTP_RESILIENCE_CALL_RUNNING) {
        ngx_http_resilience_route_hedge(call);

    } else {
        ngx_http_resilience_route_next(call);
    }

    ngx_http_run_posted_requests(c);
}


void
ngx_http_resilience_call_spent(ngx_http_resilience_call_t *call)
{
    ngx_int_t  rc;

    if (call->spent == 0) {

        call->spent = ngx_http_resilience_call_status(call);

        if (call->kept.attempt) {
            call->outcome = call->kept.attempt->outcome;
        }

        ngx_log_error(NGX_LOG_ERR, call->request->connection->log, 0,
                      "chain \"%V\" is spent after %ui attempts: %s, "
                      "tenant \"%V\"", &call->chain->name, call->attempts,
                      res_outcome_name(call->outcome), &call->tenant);
    }

    rc = ngx_http_resilience_stale(call);

    if (rc == NGX_OK) {
        return;
    }

    if (rc == NGX_DECLINED) {
        rc = ngx_http_resilience_answer_spent(call, call->spent);
    }

    ngx_http_resilience_call_finish(call, rc);
}


/* of an answer of our own: what was the worst that the client can wait for? */

static ngx_uint_t
ngx_http_resilience_call_status(ngx_http_resilience_call_t *call)
{
    switch (call->outcome) {

    case RES_TIMEOUT:
        return NGX_HTTP_GATEWAY_TIME_OUT;

    case RES_SHUTDOWN:
        return NGX_HTTP_SERVICE_UNAVAILABLE;

    case RES_BREAKER_OPEN:
    case RES_NO_PERMIT:
    case RES_NO_KEY:
    case RES_LIMITED:

        if (call->attempts == 0) {
            return NGX_HTTP_SERVICE_UNAVAILABLE;
        }

        call->outcome = call->attempt->outcome;

        return (call->outcome == RES_TIMEOUT) ? NGX_HTTP_GATEWAY_TIME_OUT
                                              : NGX_HTTP_BAD_GATEWAY;

    default:
        return NGX_HTTP_BAD_GATEWAY;
    }
}


void
ngx_http_resilience_call_finish(ngx_http_resilience_call_t *call, ngx_int_t rc)
{
    ngx_http_request_t  *r;

    ngx_http_resilience_call_end(call);

    r = call->request;

    if (rc == NGX_OK && r->postponed && r->connection->data == r) {

        /* filters' subrequests are over, and no event will tell so again */

        rc = ngx_http_output_filter(r, NULL);
    }

    if (rc == NGX_ERROR) {
        r->keepalive = 0;
    }

    ngx_http_finalize_request(r, rc);
}


/* what it came to is known, once */

static void
ngx_http_resilience_call_end(ngx_http_resilience_call_t *call)
{
    if (call->state != NGX_HTTP_RESILIENCE_CALL_DONE) {
        call->state = NGX_HTTP_RESILIENCE_CALL_DONE;
        ngx_http_resilience_tally_call(call);
    }
}


/* runs once at the end of every call, however it ended */

static void
ngx_http_resilience_call_cleanup(void *data)
{
    ngx_http_resilience_call_t *call = data;

    ngx_http_resilience_attempt_t  *a;

    ngx_queue_remove(&call->queue);

    if (call->timer.timer_set) {
        ngx_del_timer(&call->timer);
    }

    if (call->state == NGX_HTTP_RESILIENCE_CALL_DONE) {
        return;
    }

    call->outcome = RES_CLIENT_ABORT;
    ngx_http_resilience_call_end(call);

    for (a = call->attempt; a; a = a->next) {
        ngx_http_resilience_attempt_cancel(a, NGX_HTTP_RESILIENCE_BY_CLIENT,
                                           RES_CLIENT_ABORT);
    }
}


void
ngx_http_resilience_calls_end(void)
{
    ngx_queue_t                    *q;
    ngx_connection_t               *c;
    ngx_http_resilience_call_t     *call;
    ngx_http_resilience_attempt_t  *a;

    ngx_http_resilience_ending = 1;

    /* the end of one call may be that of others of the same connection */

    while (!ngx_queue_empty(&ngx_http_resilience_calls)) {

        q = ngx_queue_head(&ngx_http_resilience_calls);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&ngx_http_resilience_ended, q);

        call = ngx_queue_data(q, ngx_http_resilience_call_t, queue);
        c = call->request->connection;

        ngx_http_set_log_request(c->log, call->request);

        for (a = call->attempt; a; a = a->next) {
            ngx_http_resilience_attempt_cancel(a,
                                               NGX_HTTP_RESILIENCE_BY_SHUTDOWN,
                                               RES_SHUTDOWN);
        }

        if (call->state == NGX_HTTP_RESILIENCE_CALL_WAITING) {
            call->outcome = RES_SHUTDOWN;
            ngx_http_resilience_call_spent(call);
        }

        ngx_http_run_posted_requests(c);
    }
}


void
ngx_http_resilience_call_trace(ngx_http_resilience_call_t *call,
    ngx_http_resilience_provider_t *provider, res_outcome_e outcome,
    ngx_uint_t status, ngx_msec_t elapsed)
{
    ngx_http_resilience_trace_t  *t;

    t = ngx_array_push(&call->trace);

    if (t) {
        t->provider = provider;
        t->outcome = outcome;
        t->status = status;
        t->elapsed = elapsed;
    }
}
