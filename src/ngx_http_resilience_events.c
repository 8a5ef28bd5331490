
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_events.h"
#include "ngx_http_resilience_usage.h"


/* what the events of a stream mean for the attempt that it answers */


#define NGX_HTTP_RESILIENCE_EVENT  1024     /* bytes gathered of one event */


static llm_event_e ngx_http_resilience_events_one(
    ngx_http_resilience_attempt_t *a, llm_event_t *event,
    ngx_http_resilience_sight_e *sight, res_outcome_e *committed);


ngx_int_t
ngx_http_resilience_events_init(ngx_http_resilience_attempt_t *a)
{
    size_t  size;

    size = a->asks ? NGX_HTTP_RESILIENCE_ASKED_EVENT
                   : NGX_HTTP_RESILIENCE_EVENT;

    a->sse = ngx_palloc(a->request->pool, sizeof(llm_sse_t) + size);
    if (a->sse == NULL) {
        return NGX_ERROR;
    }

    llm_sse_init(a->sse, (u_char *) a->sse + sizeof(llm_sse_t), size);

    llm_sse_shorten(a->sse);

    a->sse->over = ngx_http_resilience_usage_over;
    a->sse->ctx = a;

    return a->asks ? ngx_http_resilience_strip_init(a) : NGX_OK;
}


ngx_int_t
ngx_http_resilience_events(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in, ngx_http_resilience_sight_e *sight,
    res_outcome_e *committed)
{
    ngx_chain_t          *cl;
    llm_event_e           kind;
    llm_event_t           event;
    const u_char         *pos;
    const llm_dialect_t  *dialect;

    dialect = a->step->provider->dialect;
    *committed = RES_SUCCESS;

    *sight = (a->state == NGX_HTTP_RESILIENCE_COMMITTED)
                 ? NGX_HTTP_RESILIENCE_MEANING : NGX_HTTP_RESILIENCE_NOTHING;

    for (cl = in; cl; cl = cl->next) {

        if (a->strip
            && ngx_http_resilience_strip_start(a, cl->buf) != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (!ngx_buf_in_memory(cl->buf)) {
            continue;
        }

        pos = cl->buf->pos;

        while (llm_sse_next(a->sse, &pos, cl->buf->last, &event)) {

            ngx_http_resilience_usage_event(a, &event);

            if (dialect->follow) {
                dialect->follow(&a->stream, &event);
            }

            kind = ngx_http_resilience_events_one(a, &event, sight,
                                                    committed);

            if (*sight == NGX_HTTP_RESILIENCE_TROUBLE) {
                return NGX_OK;
            }

            if (a->strip
                && ngx_http_resilience_strip_event(a->strip, &event, pos,
                                                   kind == LLM_EVENT_USAGE)
                   != NGX_OK)
            {
                return NGX_ERROR;
            }

            if (a->broken) {

                /* what follows, "[DONE]" for one, would make it look well */

                cl->buf->last = (u_char *) pos;
                ngx_http_resilience_filter_discard(cl->next);

                return a->strip ? ngx_http_resilience_strip_end(a) : NGX_OK;
            }
        }

        if (a->strip && ngx_http_resilience_strip_end(a) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static llm_event_e
ngx_http_resilience_events_one(ngx_http_resilience_attempt_t *a,
    llm_event_t *event, ngx_http_resilience_sight_e *sight,
    res_outcome_e *committed)
{
    llm_event_e    kind;
    res_outcome_e  outcome;

    outcome = RES_SERVER_ERROR;

    kind = a->step->provider->dialect->event(event, &outcome);

    switch (kind) {

    case LLM_EVENT_NOISE:
    case LLM_EVENT_USAGE:
        return kind;

    case LLM_EVENT_LAST:
        a->terminal = 1;
        *sight = NGX_HTTP_RESILIENCE_MEANING;
        return kind;

    case LLM_EVENT_CONTENT:
        *sight = NGX_HTTP_RESILIENCE_MEANING;
        return kind;

    case LLM_EVENT_END:
        a->terminal = 1;

        if (*sight == NGX_HTTP_RESILIENCE_MEANING) {
            return kind;
        }

        outcome = RES_INVALID_RESPONSE;
        break;

    case LLM_EVENT_REFUSED:
    case LLM_EVENT_DENIED:

        if (kind == LLM_EVENT_DENIED) {
            a->terminal = 1;
        }

        if (*sight == NGX_HTTP_RESILIENCE_MEANING) {
            return kind;
        }

        if (ngx_http_resilience_route_moves_on(a, outcome)) {
            break;
        }

        *committed = outcome;
        *sight = NGX_HTTP_RESILIENCE_MEANING;
        return kind;

    default: /* LLM_EVENT_ERROR, LLM_EVENT_FAILED */

        if (*sight == NGX_HTTP_RESILIENCE_NOTHING) {

            if (ngx_http_resilience_route_moves_on(a, outcome)) {
                break;
            }

            /* it is the client's, as it is */

            *committed = outcome;
        }

        if (!a->broken) {
            a->inner = outcome;
            a->broken = 1;
            a->told = (kind == LLM_EVENT_ERROR);
        }

        *sight = NGX_HTTP_RESILIENCE_MEANING;
        return kind;
    }

    a->outcome = outcome;
    a->judged = 1;
    *sight = NGX_HTTP_RESILIENCE_TROUBLE;

    return kind;
}
