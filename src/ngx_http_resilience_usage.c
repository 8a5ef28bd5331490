
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_usage.h"


/*
 * How many tokens an attempt took, as far as its answer tells.  An answer that
 * is held, and an event that is, is read as a whole; one that only passes by
 * is read as it does, and nothing of it is kept but the counts.
 */


static ngx_int_t ngx_http_resilience_usage_start(
    ngx_http_resilience_attempt_t *a);


void
ngx_http_resilience_usage_body(ngx_http_resilience_attempt_t *a,
    llm_str_t body)
{
    llm_usage_read(a->step->provider->dialect, body, &a->usage);
}


void
ngx_http_resilience_usage_event(ngx_http_resilience_attempt_t *a,
    llm_event_t *event)
{
    if (!event->cut) {
        llm_usage_read(a->step->provider->dialect, event->data, &a->usage);
    }
}


/* without memory for it the counts stay unknown */

static ngx_int_t
ngx_http_resilience_usage_start(ngx_http_resilience_attempt_t *a)
{
    if (a->tokens == NULL) {
        a->tokens = ngx_palloc(a->request->pool, sizeof(llm_usage_scan_t));

        if (a->tokens == NULL) {
            return NGX_ERROR;
        }
    }

    llm_usage_scan_init(a->tokens, a->step->provider->dialect);

    return NGX_OK;
}


void
ngx_http_resilience_usage_over(void *ctx, const u_char *data, size_t len,
    int first)
{
    ngx_http_resilience_attempt_t *a = ctx;

    if (a->step->provider->dialect->usage == NULL
        || (first && ngx_http_resilience_usage_start(a) != NGX_OK)
        || a->tokens == NULL)
    {
        return;
    }

    llm_usage_scan(a->tokens, data, len, &a->usage);
}


void
ngx_http_resilience_usage_pass(ngx_http_resilience_attempt_t *a,
    ngx_chain_t *in)
{
    ngx_chain_t  *cl;

    if (a->step->provider->dialect->usage == NULL
        || a->status >= NGX_HTTP_SPECIAL_RESPONSE)
    {
        return;
    }

    for (cl = in; cl; cl = cl->next) {

        if (ngx_buf_special(cl->buf)) {
            continue;
        }

        if (a->tokens == NULL && ngx_http_resilience_usage_start(a) != NGX_OK)
        {
            return;
        }

        if (ngx_buf_in_memory(cl->buf)) {
            llm_usage_scan(a->tokens, cl->buf->pos,
                           cl->buf->last - cl->buf->pos, &a->usage);

        } else {
            /* not read from its file for this */
            llm_usage_scan_stop(a->tokens);
        }
    }
}


void
ngx_http_resilience_usage_record(ngx_http_resilience_attempt_t *a)
{
    ngx_http_resilience_counters_t  *counters;

    counters = a->step->provider->counters;

    if (a->usage.input > 0) {
        (void) ngx_atomic_fetch_add(&counters->input_tokens, a->usage.input);
    }

    if (a->usage.output > 0) {
        (void) ngx_atomic_fetch_add(&counters->output_tokens,
                                    a->usage.output);
    }
}
