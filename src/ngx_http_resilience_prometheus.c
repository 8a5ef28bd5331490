
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_limit.h"


/*
 * resilience_status prometheus: what was counted, as text.  What is written is
 * bounded by the configuration and read without a lock: no cell is looked at,
 * and no tenant is named, unless "tenants=" asks for some.
 */


typedef struct ngx_http_resilience_metric_s  ngx_http_resilience_metric_t;

/* of: a provider's counters, a chain, or the main configuration */

typedef void (*ngx_http_resilience_metric_pt)(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);


typedef enum {
    NGX_HTTP_RESILIENCE_OF_PROVIDER = 0,
    NGX_HTTP_RESILIENCE_OF_CHAIN,
    NGX_HTTP_RESILIENCE_OF_ZONE
} ngx_http_resilience_scope_e;


struct ngx_http_resilience_metric_s {
    const char                     *name;
    const char                     *type;
    const char                     *help;
    ngx_http_resilience_scope_e     scope;
    ngx_http_resilience_metric_pt   write;
};


static void ngx_http_resilience_metric_calls(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_attempts(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_refused(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_inflight(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_transitions(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_asked(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_open_time(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_breakers(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_common(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_timeouts(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_tries(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_denied(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_statuses(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_moves(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_hedges(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_duration(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_first_byte(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_tokens(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_limited(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_dry_run(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_limits(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, ngx_http_resilience_main_conf_t *rmcf,
    ngx_uint_t dry);
static void ngx_http_resilience_metric_overflows(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_cells(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_capacity(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_evictions(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out, void *of);
static void ngx_http_resilience_metric_write(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_out_t *out);
static ngx_uint_t ngx_http_resilience_metric_used(
    ngx_http_resilience_chain_t *chain);
static void ngx_http_resilience_metric_classes(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters,
    uint32_t classes);
static void ngx_http_resilience_metric_histogram(
    ngx_http_resilience_metric_t *m, ngx_http_resilience_out_t *out,
    ngx_http_resilience_counters_t *counters,
    const res_histogram_t *histogram);
static void ngx_http_resilience_metric_states(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters,
    const uint32_t values[RES_BREAKER_STATES]);
static void ngx_http_resilience_metric_label(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, const char *suffix,
    ngx_http_resilience_counters_t *counters);


static ngx_http_resilience_metric_t  ngx_http_resilience_metrics[] = {

    { "resilience_calls_total", "counter",
      "Calls by how they ended.",
      NGX_HTTP_RESILIENCE_OF_CHAIN, ngx_http_resilience_metric_calls },

    { "resilience_attempts_total", "counter",
      "Attempts by how they ended.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_attempts },

    { "resilience_refused_total", "counter",
      "Attempts that were not let start, by what refused them.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_refused },

    { "resilience_inflight", "gauge",
      "Attempts that run now.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_inflight },

    { "resilience_circuit_breaker_state_transitions_total", "counter",
      "Changes of state of breakers of tenants.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_transitions },

    { "resilience_circuit_breaker_calls_total", "counter",
      "What came of asking breakers, by their state then.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_asked },

    { "resilience_circuit_breaker_open_duration_seconds", "histogram",
      "Time for which breakers that opened refused attempts.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_open_time },

    { "resilience_circuit_breakers", "gauge",
      "Breakers of tenants by their state.",
      NGX_HTTP_RESILIENCE_OF_ZONE, ngx_http_resilience_metric_breakers },

    { "resilience_provider_breaker", "gauge",
      "Breaker for all tenants: 1 for the state it is in.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_common },

    { "resilience_timeout_operations_total", "counter",
      "Attempts that a limit ended, by that limit.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_timeouts },

    { "resilience_retry_attempts", "histogram",
      "Attempts that calls took.",
      NGX_HTTP_RESILIENCE_OF_ZONE, ngx_http_resilience_metric_tries },

    { "resilience_retry_denied_total", "counter",
      "Retries that were due and did not start, by reason.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_denied },

    { "resilience_http_status_retriable_total", "counter",
      "Error statuses after which a call may go on.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_statuses },

    { "resilience_fallbacks_total", "counter",
      "Moves of calls from a provider to another.",
      NGX_HTTP_RESILIENCE_OF_CHAIN, ngx_http_resilience_metric_moves },

    { "resilience_hedges_total", "counter",
      "Hedges that ended, by what came of them.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_hedges },

    { "resilience_attempt_duration_seconds", "histogram",
      "Time of an attempt to its end.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_duration },

    { "resilience_first_byte_seconds", "histogram",
      "Time of an attempt until its answer was passed on.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_first_byte },

    { "resilience_limited_total", "counter",
      "Requests refused, by limit.",
      NGX_HTTP_RESILIENCE_OF_ZONE, ngx_http_resilience_metric_limited },

    { "resilience_limited_dry_run_total", "counter",
      "Requests that only a dry run let pass, by limit.",
      NGX_HTTP_RESILIENCE_OF_ZONE, ngx_http_resilience_metric_dry_run },

    { "resilience_limit_overflows_total", "counter",
      "Requests that no limit was asked for, for want of memory.",
      NGX_HTTP_RESILIENCE_OF_ZONE, ngx_http_resilience_metric_overflows },

    { "llm_tokens_total", "counter",
      "Tokens that answers told of.",
      NGX_HTTP_RESILIENCE_OF_PROVIDER, ngx_http_resilience_metric_tokens },

    { "resilience_zone_cells", "gauge",
      "Breakers that the zone holds.",
      NGX_HTTP_RESILIENCE_OF_ZONE, ngx_http_resilience_metric_cells },

    { "resilience_zone_capacity", "gauge",
      "Breakers that the zone has room for.",
      NGX_HTTP_RESILIENCE_OF_ZONE, ngx_http_resilience_metric_capacity },

    { "resilience_zone_evictions_total", "counter",
      "Breakers given up for others.",
      NGX_HTTP_RESILIENCE_OF_ZONE, ngx_http_resilience_metric_evictions },

    { NULL, NULL, NULL, 0, NULL }
};


void
ngx_http_resilience_metric_head(ngx_http_resilience_out_t *out,
    const char *name, const char *type, const char *help)
{
    ngx_http_resilience_out_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name,
                                   help, name, type);
}


void
ngx_http_resilience_prometheus(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_out_t *out, ngx_uint_t top)
{
    ngx_http_resilience_metric_t  *m;

    for (m = ngx_http_resilience_metrics; m->name; m++) {
        ngx_http_resilience_metric_head(out, m->name, m->type, m->help);
        ngx_http_resilience_metric_write(m, rmcf, out);
    }

    if (top) {
        ngx_http_resilience_top(rmcf, out, top);
    }
}


static void
ngx_http_resilience_metric_write(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_out_t *out)
{
    ngx_uint_t                        i;
    ngx_http_resilience_chain_t     **chains;
    ngx_http_resilience_provider_t  **providers;

    switch (m->scope) {

    case NGX_HTTP_RESILIENCE_OF_PROVIDER:
        providers = rmcf->providers.elts;

        for (i = 0; i < rmcf->providers.nelts; i++) {
            m->write(m, out, providers[i]->counters);
        }

        break;

    case NGX_HTTP_RESILIENCE_OF_CHAIN:
        chains = rmcf->chains.elts;

        for (i = 0; i < rmcf->chains.nelts; i++) {
            if (ngx_http_resilience_metric_used(chains[i])) {
                m->write(m, out, chains[i]);
            }
        }

        break;

    case NGX_HTTP_RESILIENCE_OF_ZONE:
        m->write(m, out, rmcf);
        break;
    }
}


/* a provider that is a chain of its own may be named by a variable only */

static ngx_uint_t
ngx_http_resilience_metric_used(ngx_http_resilience_chain_t *chain)
{
    ngx_uint_t  i;

    for (i = 0; i < RES_OUTCOMES; i++) {
        if (chain->tally->outcomes[i]) {
            return 1;
        }
    }

    return chain->named;
}


static void
ngx_http_resilience_metric_label(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, const char *suffix,
    ngx_http_resilience_counters_t *counters)
{
    ngx_http_resilience_out_printf(out, "%s%s{provider=", m->name, suffix);
    ngx_http_resilience_out_label(out, counters->name, counters->len);
}


static void
ngx_http_resilience_metric_calls(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_chain_t *chain = of;

    ngx_uint_t  n;

    for (n = 0; n < RES_OUTCOMES; n++) {
        ngx_http_resilience_out_printf(out, "%s{chain=", m->name);
        ngx_http_resilience_out_label(out, chain->name.data, chain->name.len);
        ngx_http_resilience_out_printf(out, ",outcome=\"%s\"} %uA\n",
                                       res_outcome_name(n),
                                       chain->tally->outcomes[n]);
    }
}


static void
ngx_http_resilience_metric_attempts(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_metric_classes(m, out, of,
                                       ~ (uint32_t) RES_REFUSED);
}


static void
ngx_http_resilience_metric_refused(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_metric_classes(m, out, of, RES_REFUSED);
}


static void
ngx_http_resilience_metric_classes(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters,
    uint32_t classes)
{
    ngx_uint_t  n;

    for (n = 0; n < RES_OUTCOMES; n++) {
        if (classes & res_bit(n)) {
            ngx_http_resilience_metric_label(m, out, "", counters);
            ngx_http_resilience_out_printf(out, ",class=\"%s\"} %uA\n",
                                           res_outcome_name(n),
                                           counters->outcomes[n]);
        }
    }
}


static void
ngx_http_resilience_metric_inflight(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_counters_t *counters = of;

    ngx_http_resilience_metric_label(m, out, "", counters);
    ngx_http_resilience_out_printf(out, "} %ui\n", counters->inflight);
}


/* there is no way from closed to half-open */

static void
ngx_http_resilience_metric_transitions(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_counters_t *counters = of;

    ngx_uint_t  from, to;

    for (from = 0; from < RES_BREAKER_STATES; from++) {
        for (to = 0; to < RES_BREAKER_STATES; to++) {

            if (from == to || (from == RES_CLOSED && to == RES_HALF_OPEN)) {
                continue;
            }

            ngx_http_resilience_metric_label(m, out, "", counters);
            ngx_http_resilience_out_printf(out,
                                           ",from=\"%s\",to=\"%s\"} %uA\n",
                                           res_breaker_state_name(from),
                                           res_breaker_state_name(to),
                                           counters->transitions[from][to]);
        }
    }
}


static void
ngx_http_resilience_metric_asked(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_counters_t *counters = of;

    ngx_uint_t  state, result;

    static const char  *results[] = {
        "success", "failure", "neutral", "rejected"
    };

    for (state = 0; state < RES_BREAKER_STATES; state++) {
        for (result = 0; result < NGX_HTTP_RESILIENCE_RESULTS; result++) {
            ngx_http_resilience_metric_label(m, out, "", counters);
            ngx_http_resilience_out_printf(out,
                                        ",state=\"%s\",result=\"%s\"} %uA\n",
                                        res_breaker_state_name(state),
                                        results[result],
                                        counters->asked[state][result]);
        }
    }
}


static void
ngx_http_resilience_metric_open_time(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_counters_t *counters = of;

    uint32_t           bound;
    ngx_uint_t         i;
    ngx_atomic_uint_t  count, ms;

    count = 0;

    for (i = 0; i < NGX_HTTP_RESILIENCE_RUNGS; i++) {

        ngx_http_resilience_metric_label(m, out, "_bucket", counters);

        bound = ngx_http_resilience_open_times[i];
        count += counters->open.counts[i];

        if (bound == UINT32_MAX) {
            ngx_http_resilience_out_printf(out, ",le=\"+Inf\"} %uA\n", count);

        } else {
            ngx_http_resilience_out_printf(out, ",le=\"%uD.%03uD\"} %uA\n",
                                           bound / 1000, bound % 1000, count);
        }
    }

    ms = counters->open.sum;

    ngx_http_resilience_metric_label(m, out, "_sum", counters);
    ngx_http_resilience_out_printf(out, "} %uA.%03uA\n", ms / 1000, ms % 1000);

    ngx_http_resilience_metric_label(m, out, "_count", counters);
    ngx_http_resilience_out_printf(out, "} %uA\n", count);
}


static void
ngx_http_resilience_metric_breakers(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_main_conf_t *rmcf = of;

    res_table_t                      *table;
    ngx_uint_t                        i;
    ngx_http_resilience_counters_t   *counters;
    ngx_http_resilience_provider_t  **providers;

    providers = rmcf->providers.elts;
    table = rmcf->zone->shared->table;

    for (i = 0; i < rmcf->providers.nelts; i++) {
        counters = providers[i]->counters;

        ngx_http_resilience_metric_states(m, out, counters,
                                 res_table_provider(table,
                                                    counters->number)->cells);
    }
}


static void
ngx_http_resilience_metric_common(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_counters_t *counters = of;

    uint32_t  values[RES_BREAKER_STATES];

    ngx_memzero(values, sizeof(values));

    values[res_breaker_shown(&counters->breaker)] = 1;

    ngx_http_resilience_metric_states(m, out, counters, values);
}


static void
ngx_http_resilience_metric_states(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters,
    const uint32_t values[RES_BREAKER_STATES])
{
    ngx_uint_t  n;

    for (n = 0; n < RES_BREAKER_STATES; n++) {
        ngx_http_resilience_metric_label(m, out, "", counters);
        ngx_http_resilience_out_printf(out, ",state=\"%s\"} %uD\n",
                                       res_breaker_state_name(n), values[n]);
    }
}


static void
ngx_http_resilience_metric_timeouts(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_counters_t *counters = of;

    ngx_uint_t  n;

    for (n = NGX_HTTP_RESILIENCE_CONNECT; n < NGX_HTTP_RESILIENCE_PHASES; n++) {
        ngx_http_resilience_metric_label(m, out, "", counters);
        ngx_http_resilience_out_printf(out, ",phase=\"%s\"} %uA\n",
                                       ngx_http_resilience_phase_name(n),
                                       counters->timeouts[n]);
    }
}


static void
ngx_http_resilience_metric_tries(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_main_conf_t *rmcf = of;

    uint32_t                       bound;
    ngx_uint_t                     i;
    ngx_atomic_uint_t              count;
    ngx_http_resilience_ladder_t  *tries;

    tries = &rmcf->zone->shared->tries;
    count = 0;

    for (i = 0; i < NGX_HTTP_RESILIENCE_RUNGS; i++) {

        bound = ngx_http_resilience_tries[i];
        count += tries->counts[i];

        if (bound == UINT32_MAX) {
            ngx_http_resilience_out_printf(out,
                                           "%s_bucket{le=\"+Inf\"} %uA\n",
                                           m->name, count);

        } else {
            ngx_http_resilience_out_printf(out,
                                           "%s_bucket{le=\"%uD\"} %uA\n",
                                           m->name, bound, count);
        }
    }

    ngx_http_resilience_out_printf(out, "%s_sum %uA\n%s_count %uA\n", m->name,
                                   tries->sum, m->name, count);
}


static void
ngx_http_resilience_metric_denied(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_counters_t *counters = of;

    ngx_uint_t  n;

    for (n = 0; n < NGX_HTTP_RESILIENCE_DENIALS; n++) {
        ngx_http_resilience_metric_label(m, out, "", counters);
        ngx_http_resilience_out_printf(out, ",reason=\"%s\"} %uA\n",
                                       ngx_http_resilience_denial_name(n),
                                       counters->denied[n]);
    }
}


static void
ngx_http_resilience_metric_statuses(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_counters_t *counters = of;

    u_char      name[4];
    ngx_uint_t  n;

    for (n = 0; n < NGX_HTTP_RESILIENCE_STATUSES; n++) {

        ngx_http_resilience_count_status_name(n, name);

        ngx_http_resilience_metric_label(m, out, "", counters);
        ngx_http_resilience_out_printf(out, ",status=\"%s\"} %uA\n", name,
                                       counters->statuses[n]);
    }
}


static void
ngx_http_resilience_metric_moves(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_chain_t *chain = of;

    ngx_str_t                   *from, *to;
    ngx_uint_t                   i, n;
    ngx_http_resilience_step_t  *steps;

    steps = chain->steps.elts;
    n = chain->steps.nelts;

    for (i = 0; i < n * n; i++) {

        if (chain->moves[i] == NULL) {
            continue;
        }

        from = &steps[i / n].provider->name;
        to = &steps[i % n].provider->name;

        ngx_http_resilience_out_printf(out, "%s{chain=", m->name);
        ngx_http_resilience_out_label(out, chain->name.data, chain->name.len);
        ngx_http_resilience_out_printf(out, ",from=");
        ngx_http_resilience_out_label(out, from->data, from->len);
        ngx_http_resilience_out_printf(out, ",to=");
        ngx_http_resilience_out_label(out, to->data, to->len);
        ngx_http_resilience_out_printf(out, "} %uA\n",
                                       chain->moves[i]->count);
    }
}


static void
ngx_http_resilience_metric_hedges(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_counters_t *counters = of;

    ngx_http_resilience_metric_label(m, out, "", counters);
    ngx_http_resilience_out_printf(out, ",result=\"won\"} %uA\n",
                                   counters->hedges_won);

    ngx_http_resilience_metric_label(m, out, "", counters);
    ngx_http_resilience_out_printf(out, ",result=\"lost\"} %uA\n",
                                   counters->hedges_lost);
}


static void
ngx_http_resilience_metric_duration(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_counters_t *counters = of;

    ngx_http_resilience_metric_histogram(m, out, counters, &counters->attempt);
}


static void
ngx_http_resilience_metric_first_byte(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_counters_t *counters = of;

    ngx_http_resilience_metric_histogram(m, out, counters,
                                         &counters->first_byte);
}


static void
ngx_http_resilience_metric_histogram(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters,
    const res_histogram_t *histogram)
{
    uint32_t               bound;
    ngx_uint_t             i;
    res_histogram_total_t  total;

    res_histogram_total(histogram, &total);

    for (i = 0; i < RES_HISTOGRAM_BUCKETS; i++) {

        ngx_http_resilience_metric_label(m, out, "_bucket", counters);

        bound = res_histogram_bound(i);

        if (bound == RES_HISTOGRAM_INF) {
            ngx_http_resilience_out_printf(out, ",le=\"+Inf\"} %uL\n",
                                           total.counts[i]);

        } else {
            ngx_http_resilience_out_printf(out, ",le=\"%uD.%03uD\"} %uL\n",
                                           bound / 1000, bound % 1000,
                                           total.counts[i]);
        }
    }

    ngx_http_resilience_metric_label(m, out, "_sum", counters);
    ngx_http_resilience_out_printf(out, "} %uL.%03uL\n", total.sum / 1000,
                                   total.sum % 1000);

    ngx_http_resilience_metric_label(m, out, "_count", counters);
    ngx_http_resilience_out_printf(out, "} %uL\n",
                                   total.counts[RES_HISTOGRAM_BUCKETS - 1]);
}


static void
ngx_http_resilience_metric_tokens(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_counters_t *counters = of;

    ngx_http_resilience_metric_label(m, out, "", counters);
    ngx_http_resilience_out_printf(out, ",direction=\"input\"} %uA\n",
                                   counters->input_tokens);

    ngx_http_resilience_metric_label(m, out, "", counters);
    ngx_http_resilience_out_printf(out, ",direction=\"output\"} %uA\n",
                                   counters->output_tokens);
}


static void
ngx_http_resilience_metric_limited(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_metric_limits(m, out, of, 0);
}


static void
ngx_http_resilience_metric_dry_run(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_metric_limits(m, out, of, 1);
}


static void
ngx_http_resilience_metric_limits(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, ngx_http_resilience_main_conf_t *rmcf,
    ngx_uint_t dry)
{
    ngx_uint_t                      i;
    ngx_http_resilience_limit_t   **limits;
    ngx_http_resilience_limited_t  *limited;

    limits = rmcf->limits.elts;

    for (i = 0; i < rmcf->limits.nelts; i++) {
        limited = limits[i]->limited;

        ngx_http_resilience_out_printf(out, "%s{limit=", m->name);
        ngx_http_resilience_out_label(out, limited->name, limited->len);
        ngx_http_resilience_out_printf(out, "} %uA\n",
                                       dry ? limited->dry : limited->refused);
    }
}


static void
ngx_http_resilience_metric_overflows(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_main_conf_t *rmcf = of;

    ngx_http_resilience_limits_t  *limits;

    limits = rmcf->zone->shared->limits;

    ngx_http_resilience_out_printf(out, "%s %uL\n", m->name,
                                   limits ? limits->limiter->full
                                          : (uint64_t) 0);
}


static void
ngx_http_resilience_metric_cells(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_main_conf_t *rmcf = of;

    ngx_http_resilience_out_printf(out, "%s %uD\n", m->name,
                                   rmcf->zone->shared->table->used);
}


static void
ngx_http_resilience_metric_capacity(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_main_conf_t *rmcf = of;

    ngx_http_resilience_out_printf(out, "%s %uD\n", m->name,
                                   rmcf->zone->shared->table->capacity);
}


static void
ngx_http_resilience_metric_evictions(ngx_http_resilience_metric_t *m,
    ngx_http_resilience_out_t *out, void *of)
{
    ngx_http_resilience_main_conf_t *rmcf = of;

    ngx_http_resilience_out_printf(out, "%s %uL\n", m->name,
                                   rmcf->zone->shared->table->evictions);
}
