
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/* what an error answer says of when, and whether, to try again */


/* whatever a provider says, it is asked again after an hour, ms */
#define NGX_HTTP_RESILIENCE_HINT_MOST  (3600 * 1000)

/* whose bodies may name a wait */
#define NGX_HTTP_RESILIENCE_HINT_BODY                                         \
    (res_bit(RES_RATE_LIMITED) | res_bit(RES_QUOTA) | res_bit(RES_OVERLOADED))


typedef int64_t (*ngx_http_resilience_hint_pt)(const u_char *data, size_t len);


static int64_t ngx_http_resilience_hint_after(const u_char *data, size_t len);
static int64_t ngx_http_resilience_hint_until(const u_char *data, size_t len);
static int64_t ngx_http_resilience_hint_named(ngx_list_t *headers);
static int64_t ngx_http_resilience_hint_exhausted(ngx_list_t *headers);
static int64_t ngx_http_resilience_hint_now(void);


/* the first one that is there and makes sense counts */

static struct {
    const char                   *name;
    ngx_http_resilience_hint_pt   read;
} ngx_http_resilience_hints[] = {
    { "retry-after-ms", res_hint_ms },
    { "x-ms-retry-after-ms", res_hint_ms },
    { "retry-after", ngx_http_resilience_hint_after },
    { NULL, NULL }
};


/* limits that say when they are full again: the longest of the empty ones */

static struct {
    const char                   *remaining;
    const char                   *reset;
    ngx_http_resilience_hint_pt   read;
} ngx_http_resilience_resets[] = {
    { "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
      res_hint_duration },
    { "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens",
      res_hint_duration },
    { "anthropic-ratelimit-requests-remaining",
      "anthropic-ratelimit-requests-reset", ngx_http_resilience_hint_until },
    { "anthropic-ratelimit-tokens-remaining",
      "anthropic-ratelimit-tokens-reset", ngx_http_resilience_hint_until },
    { "anthropic-ratelimit-input-tokens-remaining",
      "anthropic-ratelimit-input-tokens-reset",
      ngx_http_resilience_hint_until },
    { "anthropic-ratelimit-output-tokens-remaining",
      "anthropic-ratelimit-output-tokens-reset",
      ngx_http_resilience_hint_until },
    { NULL, NULL, NULL }
};


void
ngx_http_resilience_hint(ngx_http_resilience_attempt_t *a)
{
    int64_t           ms;
    ngx_list_t       *headers;
    ngx_table_elt_t  *h;

    headers = &a->request->headers_out.headers;

    h = ngx_http_resilience_header(headers, "x-should-retry");

    if (h && h->value.len == 4
        && ngx_strncasecmp(h->value.data, (u_char *) "true", 4) == 0)
    {
        a->should_retry = 1;

    } else if (h && h->value.len == 5
               && ngx_strncasecmp(h->value.data, (u_char *) "false", 5) == 0)
    {
        a->should_not_retry = 1;
    }

    if (!a->step->policy->hints) {
        return;
    }

    ms = ngx_http_resilience_hint_named(headers);

    a->hinted = (ms >= 0);

    if (ms < 0 && a->status == NGX_HTTP_TOO_MANY_REQUESTS) {
        ms = ngx_http_resilience_hint_exhausted(headers);
    }

    if (ms > 0) {
        a->hint = (ngx_msec_t) ngx_min(ms, NGX_HTTP_RESILIENCE_HINT_MOST);
    }
}


/* a limit that is used up says less than the body does */

void
ngx_http_resilience_hint_body(ngx_http_resilience_attempt_t *a,
    llm_answer_t *answer, res_outcome_e outcome)
{
    uint64_t              ms;
    const llm_dialect_t  *dialect;

    dialect = a->step->provider->dialect;

    if (!a->step->policy->hints || a->hinted || dialect->wait == NULL
        || !(NGX_HTTP_RESILIENCE_HINT_BODY & res_bit(outcome)))
    {
        return;
    }

    ms = dialect->wait(answer);

    if (ms) {
        a->hint = (ngx_msec_t) ngx_min(ms, NGX_HTTP_RESILIENCE_HINT_MOST);
    }
}


static int64_t
ngx_http_resilience_hint_named(ngx_list_t *headers)
{
    int64_t           ms;
    ngx_uint_t        i;
    ngx_table_elt_t  *h;

    for (i = 0; ngx_http_resilience_hints[i].name; i++) {

        h = ngx_http_resilience_header(headers,
                                       ngx_http_resilience_hints[i].name);
        if (h == NULL) {
            continue;
        }

        ms = ngx_http_resilience_hints[i].read(h->value.data, h->value.len);

        if (ms >= 0) {
            return ms;
        }
    }

    return -1;
}


static int64_t
ngx_http_resilience_hint_exhausted(ngx_list_t *headers)
{
    int64_t           ms, longest;
    ngx_uint_t        i;
    ngx_table_elt_t  *h;

    longest = -1;

    for (i = 0; ngx_http_resilience_resets[i].remaining; i++) {

        h = ngx_http_resilience_header(headers,
                                     ngx_http_resilience_resets[i].remaining);

        if (h == NULL || h->value.len != 1 || h->value.data[0] != '0') {
            continue;
        }

        h = ngx_http_resilience_header(headers,
                                       ngx_http_resilience_resets[i].reset);
        if (h) {
            ms = ngx_http_resilience_resets[i].read(h->value.data,
                                                    h->value.len);
            longest = ngx_max(longest, ms);
        }
    }

    return longest;
}


static int64_t
ngx_http_resilience_hint_after(const u_char *data, size_t len)
{
    return res_hint_retry_after(data, len, ngx_http_resilience_hint_now());
}


static int64_t
ngx_http_resilience_hint_until(const u_char *data, size_t len)
{
    return res_hint_timestamp(data, len, ngx_http_resilience_hint_now());
}


static int64_t
ngx_http_resilience_hint_now(void)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    return (int64_t) tp->sec * 1000 + tp->msec;
}
