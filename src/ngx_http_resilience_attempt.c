
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_usage.h"


/*
 * An attempt is a background subrequest into a provider's location.
 *
 * It is over when the subrequest's post handler runs, or when it is cancelled
 * from outside, whichever comes first; what still comes of the subrequest
 * then is ignored.  It is never cancelled from inside its own filters: they
 * return NGX_ERROR, and the post handler follows.
 *
 * One timer an attempt stands for all its limits: it is set to the one that
 * is due next, and looks anew when it fires.
 */


/* what of an error's body has not come by then is done without */
#define NGX_HTTP_RESILIENCE_ERROR_BODY  1000

/* ms after which a timeout is blamed on the provider in any case */
#define NGX_HTTP_RESILIENCE_FAIR        5000


static ngx_int_t ngx_http_resilience_attempt_subrequest(
    ngx_http_resilience_attempt_t *a);
static ngx_int_t ngx_http_resilience_attempt_done(ngx_http_request_t *sr,
    void *data, ngx_int_t rc);
static void ngx_http_resilience_attempt_judge(
    ngx_http_resilience_attempt_t *a, ngx_int_t rc);
static res_outcome_e ngx_http_resilience_attempt_transport(
    ngx_http_resilience_attempt_t *a, ngx_int_t rc);
static void ngx_http_resilience_attempt_late(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_phase_e phase);
static void ngx_http_resilience_attempt_timer(ngx_event_t *ev);
static ngx_msec_int_t ngx_http_resilience_attempt_slow(
    ngx_http_resilience_attempt_t *a);
static ngx_msec_int_t ngx_http_resilience_attempt_due(
    ngx_http_resilience_attempt_t *a, res_outcome_e *outcome);
static ngx_uint_t ngx_http_resilience_attempt_fair(
    ngx_http_resilience_attempt_t *a);
static res_result_e ngx_http_resilience_attempt_result(
    ngx_http_resilience_attempt_t *a);
static ngx_uint_t ngx_http_resilience_attempt_client_blocked(
    ngx_http_resilience_attempt_t *a);
static void ngx_http_resilience_attempt_close(ngx_http_request_t *sr);
static void ngx_http_resilience_attempt_over(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_state_e state);


static const char  *ngx_http_resilience_states[] = {
    "pending", "permitted", "running", "committed", "completed", "failed",
    "cancelled"
};


/* by the state that is left, the states that may follow */

static const ngx_uint_t  ngx_http_resilience_moves[] = {
    1 << NGX_HTTP_RESILIENCE_PERMITTED | 1 << NGX_HTTP_RESILIENCE_FAILED,
    1 << NGX_HTTP_RESILIENCE_RUNNING | 1 << NGX_HTTP_RESILIENCE_FAILED,
    1 << NGX_HTTP_RESILIENCE_COMMITTED | 1 << NGX_HTTP_RESILIENCE_FAILED
        | 1 << NGX_HTTP_RESILIENCE_CANCELLED,
    1 << NGX_HTTP_RESILIENCE_COMPLETED | 1 << NGX_HTTP_RESILIENCE_FAILED
        | 1 << NGX_HTTP_RESILIENCE_CANCELLED,
    0, 0, 0
};


void
ngx_http_resilience_attempt_move(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_state_e state)
{
    ngx_log_t  *log;

    log = a->call->request->connection->log;

    if (!(ngx_http_resilience_moves[a->state] & ((ngx_uint_t) 1 << state))) {
        ngx_log_error(NGX_LOG_ALERT, log, 0,
                      "resilience attempt %ui went from %s to %s", a->number,
                      ngx_http_resilience_states[a->state],
                      ngx_http_resilience_states[state]);
    }

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, log, 0,
                   "resilience attempt %ui: %s, was %s", a->number,
                   ngx_http_resilience_states[state],
                   ngx_http_resilience_states[a->state]);

    a->state = state;
}


ngx_http_resilience_attempt_t *
ngx_http_resilience_get_attempt(ngx_http_request_t *r)
{
    ngx_http_resilience_attempt_t  *a;

    if (r == r->main) {
        return NULL;
    }

    a = ngx_http_get_module_ctx(r, ngx_http_resilience_module);

    if (a) {
        return a;
    }

    /* an internal redirect cleared the contexts */

    if (r->post_subrequest
        && r->post_subrequest->handler == ngx_http_resilience_attempt_done)
    {
        a = r->post_subrequest->data;
        ngx_http_set_ctx(r, a, ngx_http_resilience_module);
    }

    return a;
}


ngx_int_t
ngx_http_resilience_attempt_start(ngx_http_resilience_attempt_t *a)
{
    ngx_http_request_t            *r;
    ngx_http_resilience_policy_t  *policy;

    r = a->call->request;
    policy = a->step->policy;

    a->started = ngx_current_msec;
    a->seen = a->started;

    a->held.last = &a->held.chain;

    llm_usage_init(&a->usage);

    if (ngx_http_resilience_attempt_subrequest(a) != NGX_OK) {
        ngx_http_resilience_attempt_move(a, NGX_HTTP_RESILIENCE_FAILED);
        return NGX_ERROR;
    }

    ngx_http_resilience_attempt_move(a, NGX_HTTP_RESILIENCE_RUNNING);

    if (a->cached) {
        return NGX_OK;
    }

    (void) ngx_atomic_fetch_add(&a->step->provider->counters->attempts, 1);

    a->timer.handler = ngx_http_resilience_attempt_timer;
    a->timer.data = a;
    a->timer.log = r->connection->log;

    ngx_http_resilience_attempt_arm(a);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "resilience attempt %ui: provider \"%V\", policy \"%V\"",
                   a->number, &a->step->provider->name, &policy->name);

    return NGX_OK;
}


void
ngx_http_resilience_attempt_arm(ngx_http_resilience_attempt_t *a)
{
    ngx_msec_int_t  due;
    res_outcome_e   outcome;

    if (a->cached) {
        /* what is on the disk is there at once, and late it is of use, too */
        return;
    }

    due = ngx_http_resilience_attempt_due(a, &outcome);
    due = ngx_min(due, ngx_http_resilience_attempt_slow(a));

    if (due == NGX_MAX_INT_T_VALUE) {
        return;
    }

    /* one that fires earlier looks anew; most attempts end before it does */

    if (a->timer.timer_set
        && (ngx_msec_int_t) (a->timer.timer.key - ngx_current_msec) <= due)
    {
        return;
    }

    ngx_add_timer(&a->timer, (ngx_msec_t) due);
}


static ngx_int_t
ngx_http_resilience_attempt_subrequest(ngx_http_resilience_attempt_t *a)
{
    ngx_http_request_t         *r, *sr;
    ngx_http_core_main_conf_t  *cmcf;

    r = a->call->request;
    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    a->post.handler = ngx_http_resilience_attempt_done;
    a->post.data = a;

    if (ngx_http_subrequest(r, &r->uri, &r->args, &sr, &a->post,
                            NGX_HTTP_SUBREQUEST_BACKGROUND)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    a->request = sr;

    ngx_http_set_ctx(sr, a, ngx_http_resilience_module);

    /* values cached for one provider are wrong for the next */

    sr->variables = ngx_pcalloc(r->pool, cmcf->variables.nelts
                                         * sizeof(ngx_http_variable_value_t));
    if (sr->variables == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_resilience_request_prepare(a) != NGX_OK) {
        return NGX_ERROR;
    }

    /* past the look-up of a location: the provider's is known */

    sr->loc_conf = a->step->provider->loc_conf;
    sr->phase_handler = cmcf->phase_engine.location_rewrite_index;
    sr->write_event_handler = ngx_http_core_run_phases;

    ngx_http_update_location_config(sr);

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_attempt_done(ngx_http_request_t *sr, void *data,
    ngx_int_t rc)
{
    ngx_http_resilience_attempt_t *a = data;

    ngx_connection_t  *c;

    c = sr->connection;

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "resilience attempt %ui done: rc:%i s:%ui b:%d",
                   a->number, rc, (ngx_uint_t) a->state, sr->buffered);

    if (a->state != NGX_HTTP_RESILIENCE_RUNNING
        && a->state != NGX_HTTP_RESILIENCE_COMMITTED)
    {
        return c->error ? rc : NGX_OK;
    }

    if (c->error || c->timedout) {

        /* the client is gone, the call's cleanup does the rest */
        return rc;
    }

    if (rc == NGX_AGAIN) {
        /* the client has not taken all of it yet, and that is well */
        rc = NGX_OK;
    }

    if (rc == NGX_OK && sr->buffered) {

        /* the filters still hold a part of the answer; this comes again */
        return rc;
    }

    sr->buffered = 0;

    if (c->data == sr) {
        c->data = sr->main;
    }

    if (!a->header && sr->upstream == NULL
        && (rc == NGX_HTTP_CREATED || rc == NGX_HTTP_NO_CONTENT
            || (rc >= NGX_HTTP_SPECIAL_RESPONSE && rc < NGX_HTTP_BAD_REQUEST)))
    {
        /* the location answers by itself; this comes again when it has */
        return rc;
    }

    ngx_http_resilience_attempt_judge(a, rc);

    ngx_http_resilience_attempt_over(a,
                    (a->state == NGX_HTTP_RESILIENCE_COMMITTED && !a->broken)
                        ? NGX_HTTP_RESILIENCE_COMPLETED
                        : NGX_HTTP_RESILIENCE_FAILED);

    /* no error page is made of it: the call decides what is answered */

    return NGX_OK;
}


/* what the attempt came to, unless the filters have said so already */

static void
ngx_http_resilience_attempt_judge(ngx_http_resilience_attempt_t *a,
    ngx_int_t rc)
{
    ngx_http_upstream_t  *u;

    u = a->request->upstream;

    if (a->request->header_only
        || (rc == NGX_OK && ngx_http_resilience_cache_served(a->request)))
    {
        /* an empty body from a cache has no end either */
        a->whole = 1;
    }

    if (a->state == NGX_HTTP_RESILIENCE_COMMITTED) {

        if (a->recorded) {
            return;
        }

        if (rc != NGX_OK || !a->whole || (a->sse && !a->terminal)) {
            a->broken = 1;
        }

        if (a->broken && a->outcome == RES_SUCCESS) {
            a->outcome = RES_STREAM_DROPPED;
        }

        return;
    }

    if (a->judged) {
        return;
    }

    if (!a->header) {

        if (u && u->headers_in.status_n >= NGX_HTTP_SPECIAL_RESPONSE) {
            /* its own error page was to take the answer's place */
            a->status = u->headers_in.status_n;

        } else if (u && u->state) {
            a->outcome = ngx_http_resilience_attempt_transport(a, rc);
            return;

        } else if (rc >= NGX_HTTP_OK) {
            /* the location answered by itself, "return 503" for one */
            a->status = rc;

        } else {
            a->outcome = RES_SERVER_ERROR;
            return;
        }
    }

    a->outcome = ngx_http_resilience_attempt_classify(a);

    if (a->outcome == RES_SUCCESS) {
        /* a good beginning that never got as far as to be passed on */
        a->outcome = a->whole ? RES_INVALID_RESPONSE : RES_STREAM_DROPPED;
    }
}


/* by the status and by what is held of the body */

res_outcome_e
ngx_http_resilience_attempt_classify(ngx_http_resilience_attempt_t *a)
{
    u_char               *p;
    ngx_chain_t          *cl;
    llm_answer_t          answer;
    res_outcome_e         outcome;
    ngx_http_request_t   *sr;
    const llm_dialect_t  *dialect;

    sr = a->request;
    dialect = a->step->provider->dialect;

    ngx_memzero(&answer, sizeof(llm_answer_t));

    answer.status = a->status;
    answer.type.data = sr->headers_out.content_type.data;
    answer.type.len = sr->headers_out.content_type.len;
    answer.own_key = (a->step->provider->key != NULL);
    answer.retry_after = (ngx_http_resilience_header(&sr->headers_out.headers,
                                                     "retry-after")
                          != NULL);
    answer.whole = a->whole;
    answer.coded = a->coded;

    ngx_http_resilience_grpc(a);
    answer.grpc = (unsigned) a->grpc_status;

    cl = a->held.chain;

    if (cl && cl->next == NULL) {
        answer.body.data = cl->buf->pos;
        answer.body.len = a->held.size;

    } else if (cl) {
        p = ngx_pnalloc(sr->pool, a->held.size);

        if (p) {
            answer.body.data = p;
            answer.body.len = a->held.size;

            for ( /* void */ ; cl; cl = cl->next) {
                p = ngx_cpymem(p, cl->buf->pos, ngx_buf_size(cl->buf));
            }
        }
    }

    outcome = dialect->classify(&answer);

    a->advice = dialect->advice ? dialect->advice(&answer, outcome) : 0;

    ngx_http_resilience_hint_body(a, &answer, outcome);

    if (outcome == RES_SUCCESS && a->whole) {
        ngx_http_resilience_usage_body(a, answer.body);
    }

    return outcome;
}


/* no status came: where did it break? */

static res_outcome_e
ngx_http_resilience_attempt_transport(ngx_http_resilience_attempt_t *a,
    ngx_int_t rc)
{
    ngx_http_upstream_t  *u;

    u = a->request->upstream;

    if (!u->request_sent) {
        a->unsent = 1;

        if (rc != NGX_HTTP_GATEWAY_TIME_OUT) {
            return RES_CONNECT;
        }

        ngx_http_resilience_attempt_late(a, NGX_HTTP_RESILIENCE_CONNECT);
        return RES_TIMEOUT;
    }

    if (rc == NGX_HTTP_GATEWAY_TIME_OUT) {
        ngx_http_resilience_attempt_late(a, NGX_HTTP_RESILIENCE_FIRST_BYTE);
        return RES_TIMEOUT;
    }

    if (u->state->bytes_received) {
        return RES_INVALID_RESPONSE;
    }

    a->stale = u->peer.cached;

    return RES_CONNECT;
}


/* a limit has ended it: one of ours, or the location's own */

static void
ngx_http_resilience_attempt_late(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_phase_e phase)
{
    a->limit = phase;

    if (phase != NGX_HTTP_RESILIENCE_NO_PHASE) {
        (void) ngx_atomic_fetch_add(
                             &a->step->provider->counters->timeouts[phase], 1);
    }
}


const char *
ngx_http_resilience_phase_name(ngx_http_resilience_phase_e phase)
{
    static const char  *names[] = {
        "none", "connect", "first_byte", "idle", "attempt", "total"
    };

    return names[phase];
}


void
ngx_http_resilience_attempt_cancel(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_reason_e reason, res_outcome_e outcome)
{
    ngx_http_request_t  *sr;

    sr = a->request;

    if (a->state != NGX_HTTP_RESILIENCE_RUNNING
        && a->state != NGX_HTTP_RESILIENCE_COMMITTED)
    {
        return;
    }

    if (sr->upstream && !sr->upstream->request_sent) {
        a->unsent = 1;
    }

    a->reason = reason;
    a->judged = 1;

    if (!a->recorded) {
        a->outcome = outcome;
    }

    sr->post_subrequest = NULL;

    if (sr->connection->data == sr) {
        sr->connection->data = sr->main;
    }

    /* while the call's request is torn down nginx does this by itself */

    if (reason != NGX_HTTP_RESILIENCE_BY_CLIENT) {
        ngx_http_resilience_attempt_close(sr);
    }

    sr->read_event_handler = ngx_http_request_empty_handler;
    sr->write_event_handler = ngx_http_request_empty_handler;

    ngx_http_resilience_attempt_over(a,
                                (reason == NGX_HTTP_RESILIENCE_NOT_CANCELLED)
                                    ? NGX_HTTP_RESILIENCE_FAILED
                                    : NGX_HTTP_RESILIENCE_CANCELLED);
}


static void
ngx_http_resilience_attempt_close(ngx_http_request_t *sr)
{
    ngx_event_t  *wev;

    ngx_http_resilience_cache_leave(sr);

    if (sr->upstream && sr->upstream->cleanup) {
        (*sr->upstream->cleanup)(sr);
        return;
    }

    /* it waited for something else, "limit_req" in its location for one */

    wev = sr->connection->write;

    if (wev->delayed) {
        wev->delayed = 0;

        if (wev->timer_set) {
            ngx_del_timer(wev);
        }
    }

    ngx_http_finalize_request(sr, NGX_DONE);
}


/* the end of every attempt that ran: exactly one record, then the call */

static void
ngx_http_resilience_attempt_over(ngx_http_resilience_attempt_t *a,
    ngx_http_resilience_state_e state)
{
    ngx_http_resilience_attempt_move(a, state);

    ngx_http_resilience_cache_end(a);

    ngx_http_resilience_attempt_record(a);

    if (a->hedge && a->call->winner != a) {
        (void) ngx_atomic_fetch_add(&a->step->provider->counters->hedges_lost,
                                    1);
    }

    ngx_http_resilience_call_settle(a);
}


void
ngx_http_resilience_attempt_record(ngx_http_resilience_attempt_t *a)
{
    res_result_e  result;

    if (a->timer.timer_set) {
        ngx_del_timer(&a->timer);
    }

    if (a->recorded) {
        return;
    }

    a->recorded = 1;

    if (a->cached) {

        if (a->committed) {
            (void) ngx_atomic_fetch_add(
                        &a->step->provider->counters->outcomes[RES_STALE], 1);
        }

        return;
    }

    result = ngx_http_resilience_attempt_result(a);

    ngx_http_resilience_permit_record(a, result);

    ngx_http_resilience_rest_key(a);

    ngx_http_resilience_usage_record(a);

    ngx_http_resilience_count(a, result);
}


/* what the breaker makes of the outcome */

static res_result_e
ngx_http_resilience_attempt_result(ngx_http_resilience_attempt_t *a)
{
    if (ngx_http_resilience_cache_served(a->request)) {
        /* the provider was not asked */
        return RES_RESULT_NEUTRAL;
    }

    if (a->outcome == RES_SUCCESS) {
        return RES_RESULT_SUCCESS;
    }

    if (a->stale
        || (a->advice & LLM_ADVICE_BLAMELESS)
        || (a->inner && !(a->step->policy->fail_on & res_bit(a->inner)))
        || (a->unfair && a->reason == NGX_HTTP_RESILIENCE_BY_DEADLINE))
    {
        return RES_RESULT_NEUTRAL;
    }

    if (a->step->policy->fail_on & res_bit(a->outcome)) {
        return RES_RESULT_FAILURE;
    }

    return (a->status == NGX_HTTP_TOO_MANY_REQUESTS) ? RES_RESULT_REFUSED
                                                     : RES_RESULT_NEUTRAL;
}


static void
ngx_http_resilience_attempt_timer(ngx_event_t *ev)
{
    ngx_msec_int_t                  due;
    res_outcome_e                   outcome;
    ngx_connection_t               *c;
    ngx_http_request_t             *r;
    ngx_http_resilience_attempt_t  *a;

    a = ev->data;
    r = a->call->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    if (ngx_http_resilience_attempt_slow(a) <= 0) {
        a->slow = 1;
        ngx_http_resilience_permit_slow(a);
    }

    due = ngx_http_resilience_attempt_due(a, &outcome);

    if (due > 0) {
        ngx_http_resilience_attempt_arm(a);
        return;
    }

    ngx_http_resilience_attempt_late(a, a->limit);

    ngx_http_resilience_attempt_cancel(a, NGX_HTTP_RESILIENCE_BY_DEADLINE,
                                       outcome);

    ngx_http_run_posted_requests(c);
}


/* ms until the attempt is a slow one, NGX_MAX_INT_T_VALUE: it won't be */

static ngx_msec_int_t
ngx_http_resilience_attempt_slow(ngx_http_resilience_attempt_t *a)
{
    if (a->step->policy->slow == 0 || a->slow
        || a->state != NGX_HTTP_RESILIENCE_RUNNING)
    {
        return NGX_MAX_INT_T_VALUE;
    }

    return (ngx_msec_int_t) (a->started + a->step->policy->slow
                             - ngx_current_msec);
}


/*
 * ms to the limit that is due next, 0: one is over, and *outcome says what
 * that makes of the attempt; NGX_MAX_INT_T_VALUE: there is none.
 */

static ngx_msec_int_t
ngx_http_resilience_attempt_due(ngx_http_resilience_attempt_t *a,
    res_outcome_e *outcome)
{
    ngx_msec_t                     now, start, limit;
    ngx_msec_int_t                 left, due;
    ngx_http_upstream_t           *u;
    ngx_http_resilience_policy_t  *policy;

    policy = a->step->policy;
    now = ngx_current_msec;
    u = a->request->upstream;

    *outcome = RES_TIMEOUT;
    a->unfair = 0;

    /* the part of the answer that is waited for */

    if (a->header && a->status >= NGX_HTTP_SPECIAL_RESPONSE
        && a->state == NGX_HTTP_RESILIENCE_RUNNING)
    {
        start = a->seen;
        limit = NGX_HTTP_RESILIENCE_ERROR_BODY;
        a->limit = NGX_HTTP_RESILIENCE_NO_PHASE;

        if (now - start >= limit) {
            *outcome = ngx_http_resilience_attempt_classify(a);
            return 0;
        }

    } else if (a->state == NGX_HTTP_RESILIENCE_COMMITTED
               || (a->body && a->sse == NULL))
    {
        start = ngx_http_resilience_attempt_client_blocked(a) ? now : a->seen;
        limit = policy->idle;
        a->limit = NGX_HTTP_RESILIENCE_IDLE;

        *outcome = (a->state == NGX_HTTP_RESILIENCE_COMMITTED)
                       ? RES_STREAM_DROPPED : RES_TIMEOUT;

    } else {
        start = a->started;
        limit = policy->first_byte;
        a->limit = NGX_HTTP_RESILIENCE_FIRST_BYTE;

        if (policy->connect && (u == NULL || !u->request_sent)
            && (limit == 0 || policy->connect < limit))
        {
            limit = policy->connect;
            a->limit = NGX_HTTP_RESILIENCE_CONNECT;
        }
    }

    due = limit ? (ngx_msec_int_t) (start + limit - now) : NGX_MAX_INT_T_VALUE;

    if (policy->attempt) {
        left = (ngx_msec_int_t) (a->started + policy->attempt - now);

        if (left < due) {
            due = left;
            a->limit = NGX_HTTP_RESILIENCE_ATTEMPT;
        }
    }

    left = ngx_http_resilience_call_left(a->call);

    if (left < due) {
        due = left;
        a->limit = NGX_HTTP_RESILIENCE_TOTAL;
        a->unfair = !ngx_http_resilience_attempt_fair(a);
    }

    return ngx_max(due, 0);
}


/* a provider is not blamed for what the call's deadline left it no time for */

static ngx_uint_t
ngx_http_resilience_attempt_fair(ngx_http_resilience_attempt_t *a)
{
    ngx_msec_t                     fair;
    ngx_http_resilience_policy_t  *policy;

    policy = a->step->policy;
    fair = NGX_HTTP_RESILIENCE_FAIR;

    if (policy->attempt) {
        fair = ngx_min(fair, policy->attempt);
    }

    if (policy->first_byte) {
        fair = ngx_min(fair, policy->first_byte);
    }

    return a->state != NGX_HTTP_RESILIENCE_RUNNING
           || ngx_current_msec - a->started >= fair;
}


/* the provider can't be blamed for bytes that the client does not take */

static ngx_uint_t
ngx_http_resilience_attempt_client_blocked(ngx_http_resilience_attempt_t *a)
{
    ngx_connection_t  *c;

    c = a->request->connection;

    return c->buffered || a->request->main->out || a->request->buffered;
}
