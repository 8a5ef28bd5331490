
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/* what is counted of an attempt that is over */


static ngx_uint_t ngx_http_resilience_count_status(ngx_uint_t status);


/* the last two are of all others below and from 500 */

static ngx_uint_t  ngx_http_resilience_statuses[] = {
    401, 402, 403, 404, 408, 409, 425, 429, 500, 501, 502, 503, 504, 529, 4, 5
};


void
ngx_http_resilience_count(ngx_http_resilience_attempt_t *a,
    res_result_e result)
{
    ngx_uint_t                       i;
    res_breaker_state_e              state;
    ngx_http_resilience_counters_t  *counters;

    counters = a->step->provider->counters;
    state = a->ticket.state;

    res_histogram_record(&counters->attempt, ngx_current_msec - a->started,
                         ngx_current_msec);

    (void) ngx_atomic_fetch_add(&counters->outcomes[a->outcome], 1);

    if (result == RES_RESULT_SUCCESS) {
        i = NGX_HTTP_RESILIENCE_SUCCEEDED;

    } else if (result == RES_RESULT_FAILURE
               || (result == RES_RESULT_REFUSED && state == RES_HALF_OPEN))
    {
        i = NGX_HTTP_RESILIENCE_FAILURE;

    } else {
        i = NGX_HTTP_RESILIENCE_NEUTRAL;
    }

    (void) ngx_atomic_fetch_add(&counters->asked[state][i], 1);

    if (a->status >= NGX_HTTP_BAD_REQUEST
        && ngx_http_resilience_route_moves_on(a, a->outcome))
    {
        i = ngx_http_resilience_count_status(a->status);

        (void) ngx_atomic_fetch_add(&counters->statuses[i], 1);
    }
}


static ngx_uint_t
ngx_http_resilience_count_status(ngx_uint_t status)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_RESILIENCE_STATUSES - 2; i++) {
        if (ngx_http_resilience_statuses[i] == status) {
            return i;
        }
    }

    return (status < NGX_HTTP_INTERNAL_SERVER_ERROR) ? i : i + 1;
}


void
ngx_http_resilience_count_status_name(ngx_uint_t i, u_char name[4])
{
    (void) ngx_sprintf(name, (i < NGX_HTTP_RESILIENCE_STATUSES - 2)
                                 ? "%ui%Z" : "%uixx%Z",
                       ngx_http_resilience_statuses[i]);
}
