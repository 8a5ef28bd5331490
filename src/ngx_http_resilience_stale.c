
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_body.h"


/*
 * fallback stale: the last good answer to the same request of the same tenant,
 * from the caches of the chain's providers.
 *
 * When the chain is spent each of them is asked, in the order of the call, by
 * an attempt that sends nothing: no breaker is asked and no limit holds.
 */


static ngx_uint_t ngx_http_resilience_stale_allowed(
    ngx_http_resilience_call_t *call);
static ngx_int_t ngx_http_resilience_stale_start(
    ngx_http_resilience_call_t *call, ngx_http_resilience_step_t *step);
static ngx_uint_t ngx_http_resilience_stale_forbidden(ngx_http_request_t *sr);


ngx_int_t
ngx_http_resilience_stale(ngx_http_resilience_call_t *call)
{
    ngx_http_resilience_step_t  *step;

    if (!ngx_http_resilience_stale_allowed(call)) {
        return NGX_DECLINED;
    }

    while (call->stale_step < call->chain->steps.nelts) {

        step = call->steps[call->stale_step++];

        if (!step->provider->caches) {
            continue;
        }

        if (ngx_http_resilience_body_check(call, step) != NGX_OK) {
            continue;
        }

        return ngx_http_resilience_stale_start(call, step);
    }

    return NGX_DECLINED;
}


/*
 * An old answer is no way around a refusal: each attempt must have failed for
 * a reason that has nothing to do with who asks for what.
 */

static ngx_uint_t
ngx_http_resilience_stale_allowed(ngx_http_resilience_call_t *call)
{
    ngx_uint_t                    i;
    ngx_http_resilience_trace_t  *t;

    if (!call->chain->stale || call->no_fallback
        || !(RES_STALE_AFTER & res_bit(call->outcome)))
    {
        return 0;
    }

    t = call->trace.elts;

    for (i = 0; i < call->trace.nelts; i++) {
        if (!((RES_STALE_AFTER | res_bit(RES_CANCELLED))
              & res_bit(t[i].outcome)))
        {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_http_resilience_stale_start(ngx_http_resilience_call_t *call,
    ngx_http_resilience_step_t *step)
{
    ngx_http_resilience_attempt_t  *a;

    a = ngx_pcalloc(call->request->pool,
                    sizeof(ngx_http_resilience_attempt_t));
    if (a == NULL) {
        return NGX_ERROR;
    }

    a->call = call;
    a->step = step;
    a->cached = 1;
    a->number = call->attempts;
    a->next = call->attempt;
    a->usage.input = -1;
    a->usage.output = -1;

    ngx_http_resilience_attempt_move(a, NGX_HTTP_RESILIENCE_PERMITTED);

    call->attempt = a;
    call->running++;
    call->state = NGX_HTTP_RESILIENCE_CALL_RUNNING;

    if (ngx_http_resilience_attempt_start(a) != NGX_OK) {
        call->running--;
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* a cache had nothing of use: on with the next one */

void
ngx_http_resilience_stale_missed(ngx_http_resilience_attempt_t *a)
{
    ngx_http_resilience_call_t  *call;

    call = a->call;

    call->attempt = a->next;

    if (a->reason == NGX_HTTP_RESILIENCE_BY_SHUTDOWN) {
        call->outcome = RES_SHUTDOWN;
    }

    ngx_http_resilience_call_spent(call);
}


/* may the answer whose header has come stand in? */

ngx_uint_t
ngx_http_resilience_stale_fits(ngx_http_resilience_attempt_t *a)
{
    ngx_http_request_t  *sr;

    sr = a->request;

    return ngx_http_resilience_cache_served(sr)
           && a->status >= NGX_HTTP_OK
           && a->status < NGX_HTTP_SPECIAL_RESPONSE
           && !(ngx_http_resilience_cache_expired(sr)
                && ngx_http_resilience_stale_forbidden(sr));
}


/* RFC 9111, 4.2.4: what must not be served when it is stale */

static ngx_uint_t
ngx_http_resilience_stale_forbidden(ngx_http_request_t *sr)
{
    ngx_uint_t         i, n;
    ngx_list_part_t   *part;
    ngx_table_elt_t   *h;

    static ngx_str_t   words[] = {
        ngx_string("must-revalidate"),
        ngx_string("proxy-revalidate"),
        ngx_string("no-cache"),
        ngx_null_string
    };

    for (part = &sr->headers_out.headers.part; part; part = part->next) {

        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (h[i].hash == 0 || h[i].key.len != sizeof("cache-control") - 1
                || ngx_strncasecmp(h[i].key.data, (u_char *) "cache-control",
                                   h[i].key.len)
                   != 0)
            {
                continue;
            }

            for (n = 0; words[n].len; n++) {
                if (ngx_strlcasestrn(h[i].value.data,
                                     h[i].value.data + h[i].value.len,
                                     words[n].data, words[n].len - 1))
                {
                    return 1;
                }
            }
        }
    }

    return 0;
}


/* says in the client's header what it gets */

ngx_int_t
ngx_http_resilience_stale_tell(ngx_http_resilience_attempt_t *a)
{
    time_t               age, before;
    ngx_str_t            value;
    ngx_table_elt_t     *h;
    ngx_http_request_t  *r;
    u_char               buf[NGX_TIME_T_LEN];

    r = a->call->request;
    age = ngx_http_resilience_cache_age(a->request);

    /* it may have been old when it came */

    h = ngx_http_resilience_header(&r->headers_out.headers, "age");

    if (h) {
        before = ngx_atotm(h->value.data, h->value.len);
        age += (before == NGX_ERROR) ? 0 : before;
        h->hash = 0;
    }

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "stale answer of provider \"%V\", %T seconds old",
                  &a->step->provider->name, age);

    value.data = buf;
    value.len = ngx_sprintf(buf, "%T", age) - buf;

    if (ngx_http_resilience_answer_add(r, "Age", &value) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_str_set(&value, "cache");

    return ngx_http_resilience_answer_add(r, "X-Data-Source", &value);
}


/* has each chain that wants it a provider with a cache? */

ngx_int_t
ngx_http_resilience_stale_init(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf)
{
    ngx_uint_t                     i, n;
    ngx_http_resilience_step_t    *step;
    ngx_http_resilience_chain_t  **chains;

    chains = rmcf->chains.elts;

    for (i = 0; i < rmcf->chains.nelts; i++) {

        if (!chains[i]->stale) {
            continue;
        }

        step = chains[i]->steps.elts;

        for (n = 0; n < chains[i]->steps.nelts; n++) {
            if (step[n].provider->caches) {
                break;
            }
        }

        if (n == chains[i]->steps.nelts) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "no provider of chain \"%V\" has a \"proxy_cache\" "
                          "for \"fallback stale\" to answer from in %s:%ui",
                          &chains[i]->name, chains[i]->place.file,
                          chains[i]->place.line);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
