
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"
#include "ngx_http_resilience_limit.h"


/*
 * resilience_status prometheus: the providers' counters as text.  What is
 * written is bounded by the configuration: no tenant is named.
 */


typedef void (*ngx_http_resilience_metric_pt)(
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters);


static void ngx_http_resilience_metric_attempts(
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters);
static void ngx_http_resilience_metric_refused(
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters);
static void ngx_http_resilience_metric_denied(
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters);
static void ngx_http_resilience_metric_hedges(
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters);
static void ngx_http_resilience_metric_inflight(
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters);
static void ngx_http_resilience_metric_attempt_time(
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters);
static void ngx_http_resilience_metric_first_byte(
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters);
static void ngx_http_resilience_metric_tokens(
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters);
static void ngx_http_resilience_metric_histogram(
    ngx_http_resilience_out_t *out, ngx_http_resilience_counters_t *counters,
    const char *name, const res_histogram_t *histogram);
static void ngx_http_resilience_metric_limits(
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_out_t *out);
static void ngx_http_resilience_metric_limit(
    ngx_http_resilience_out_t *out, const char *name,
    ngx_http_resilience_limited_t *limited, ngx_atomic_uint_t n);
static void ngx_http_resilience_metric_head(ngx_http_resilience_out_t *out,
    const char *name, const char *type, const char *help);
static void ngx_http_resilience_metric_classes(ngx_http_resilience_out_t *out,
    ngx_http_resilience_counters_t *counters, const char *name,
    uint32_t classes);
static void ngx_http_resilience_metric_label(ngx_http_resilience_out_t *out,
    const char *name, ngx_http_resilience_counters_t *counters);


static struct {
    const char                     *name;
    const char                     *type;
    const char                     *help;
    ngx_http_resilience_metric_pt   write;
} ngx_http_resilience_metrics[] = {

    { "resilience_attempts_total", "counter",
      "Attempts by how they ended.",
      ngx_http_resilience_metric_attempts },

    { "resilience_refused_total", "counter",
      "Attempts that were not let start, by what refused them.",
      ngx_http_resilience_metric_refused },

    { "resilience_retry_denied_total", "counter",
      "Retries that were due and did not start, by reason.",
      ngx_http_resilience_metric_denied },

    { "resilience_hedges_total", "counter",
      "Hedges that were started, by what came of them.",
      ngx_http_resilience_metric_hedges },

    { "resilience_inflight", "gauge",
      "Attempts that run now.",
      ngx_http_resilience_metric_inflight },

    { "resilience_attempt_duration_seconds", "histogram",
      "Time of an attempt to its end.",
      ngx_http_resilience_metric_attempt_time },

    { "resilience_first_byte_seconds", "histogram",
      "Time of an attempt until its answer was passed on.",
      ngx_http_resilience_metric_first_byte },

    { "llm_tokens_total", "counter",
      "Tokens that answers told of.",
      ngx_http_resilience_metric_tokens },

    { NULL, NULL, NULL, NULL }
};


void
ngx_http_resilience_prometheus(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_out_t *out)
{
    ngx_uint_t                        i, n;
    res_table_t                      *table;
    ngx_http_resilience_provider_t  **providers;

    providers = rmcf->providers.elts;
    table = rmcf->zone->shared->table;

    for (i = 0; ngx_http_resilience_metrics[i].name; i++) {

        ngx_http_resilience_metric_head(out,
                                        ngx_http_resilience_metrics[i].name,
                                        ngx_http_resilience_metrics[i].type,
                                        ngx_http_resilience_metrics[i].help);

        for (n = 0; n < rmcf->providers.nelts; n++) {
            ngx_http_resilience_metrics[i].write(out, providers[n]->counters);
        }
    }

    if (rmcf->limits.nelts) {
        ngx_http_resilience_metric_limits(rmcf, out);
    }

    ngx_http_resilience_metric_head(out, "resilience_zone_cells", "gauge",
                                    "Breakers that the zone holds.");
    ngx_http_resilience_out_printf(out, "resilience_zone_cells %uD\n",
                                   table->used);

    ngx_http_resilience_metric_head(out, "resilience_zone_evictions_total",
                                    "counter",
                                    "Breakers given up for others.");
    ngx_http_resilience_out_printf(out, "resilience_zone_evictions_total %uL\n",
                                   table->evictions);
}


static void
ngx_http_resilience_metric_limits(ngx_http_resilience_main_conf_t *rmcf,
    ngx_http_resilience_out_t *out)
{
    ngx_uint_t                     i;
    ngx_http_resilience_limit_t  **limits;

    limits = rmcf->limits.elts;

    ngx_http_resilience_metric_head(out, "resilience_limited_total", "counter",
                                    "Requests refused, by limit.");

    for (i = 0; i < rmcf->limits.nelts; i++) {
        ngx_http_resilience_metric_limit(out, "resilience_limited_total",
                                         limits[i]->limited,
                                         limits[i]->limited->refused);
    }

    ngx_http_resilience_metric_head(out, "resilience_limited_dry_run_total",
                                    "counter",
                                    "Requests that only a dry run let pass.");

    for (i = 0; i < rmcf->limits.nelts; i++) {
        ngx_http_resilience_metric_limit(out,
                                         "resilience_limited_dry_run_total",
                                         limits[i]->limited,
                                         limits[i]->limited->dry);
    }

    ngx_http_resilience_metric_head(out, "resilience_limit_overflows_total",
                                    "counter",
                                    "Takes let through for want of memory.");
    ngx_http_resilience_out_printf(out,
                                   "resilience_limit_overflows_total %uL\n",
                                   rmcf->zone->shared->limits->limiter->full);
}


static void
ngx_http_resilience_metric_limit(ngx_http_resilience_out_t *out,
    const char *name, ngx_http_resilience_limited_t *limited,
    ngx_atomic_uint_t n)
{
    ngx_http_resilience_out_printf(out, "%s{limit=", name);
    ngx_http_resilience_out_string(out, limited->name, limited->len);
    ngx_http_resilience_out_printf(out, "} %uA\n", n);
}


static void
ngx_http_resilience_metric_head(ngx_http_resilience_out_t *out,
    const char *name, const char *type, const char *help)
{
    ngx_http_resilience_out_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name,
                                   help, name, type);
}


static void
ngx_http_resilience_metric_label(ngx_http_resilience_out_t *out,
    const char *name, ngx_http_resilience_counters_t *counters)
{
    ngx_http_resilience_out_printf(out, "%s{provider=", name);
    ngx_http_resilience_out_string(out, counters->name, counters->len);
}


static void
ngx_http_resilience_metric_attempts(ngx_http_resilience_out_t *out,
    ngx_http_resilience_counters_t *counters)
{
    ngx_http_resilience_metric_classes(out, counters,
                                       "resilience_attempts_total",
                                       ~ (uint32_t) RES_REFUSED);
}


static void
ngx_http_resilience_metric_refused(ngx_http_resilience_out_t *out,
    ngx_http_resilience_counters_t *counters)
{
    ngx_http_resilience_metric_classes(out, counters,
                                       "resilience_refused_total",
                                       RES_REFUSED);
}


static void
ngx_http_resilience_metric_classes(ngx_http_resilience_out_t *out,
    ngx_http_resilience_counters_t *counters, const char *name,
    uint32_t classes)
{
    ngx_uint_t  n;

    for (n = 0; n < RES_OUTCOMES; n++) {
        if (classes & res_bit(n)) {
            ngx_http_resilience_metric_label(out, name, counters);
            ngx_http_resilience_out_printf(out, ",class=\"%s\"} %uA\n",
                                           res_outcome_name(n),
                                           counters->outcomes[n]);
        }
    }
}


static void
ngx_http_resilience_metric_denied(ngx_http_resilience_out_t *out,
    ngx_http_resilience_counters_t *counters)
{
    ngx_uint_t  n;

    for (n = 0; n < NGX_HTTP_RESILIENCE_DENIALS; n++) {
        ngx_http_resilience_metric_label(out, "resilience_retry_denied_total",
                                         counters);
        ngx_http_resilience_out_printf(out, ",reason=\"%s\"} %uA\n",
                                       ngx_http_resilience_denial_name(n),
                                       counters->denied[n]);
    }
}


static void
ngx_http_resilience_metric_hedges(ngx_http_resilience_out_t *out,
    ngx_http_resilience_counters_t *counters)
{
    ngx_atomic_uint_t  won, all;

    won = counters->hedges_won;
    all = counters->hedges;

    ngx_http_resilience_metric_label(out, "resilience_hedges_total", counters);
    ngx_http_resilience_out_printf(out, ",result=\"won\"} %uA\n", won);

    ngx_http_resilience_metric_label(out, "resilience_hedges_total", counters);
    ngx_http_resilience_out_printf(out, ",result=\"lost\"} %uA\n",
                                   (all > won) ? all - won : 0);
}


static void
ngx_http_resilience_metric_inflight(ngx_http_resilience_out_t *out,
    ngx_http_resilience_counters_t *counters)
{
    ngx_http_resilience_metric_label(out, "resilience_inflight", counters);
    ngx_http_resilience_out_printf(out, "} %ui\n", counters->inflight);
}


static void
ngx_http_resilience_metric_attempt_time(ngx_http_resilience_out_t *out,
    ngx_http_resilience_counters_t *counters)
{
    ngx_http_resilience_metric_histogram(out, counters,
                                         "resilience_attempt_duration_seconds",
                                         &counters->attempt);
}


static void
ngx_http_resilience_metric_first_byte(ngx_http_resilience_out_t *out,
    ngx_http_resilience_counters_t *counters)
{
    ngx_http_resilience_metric_histogram(out, counters,
                                         "resilience_first_byte_seconds",
                                         &counters->first_byte);
}


static void
ngx_http_resilience_metric_tokens(ngx_http_resilience_out_t *out,
    ngx_http_resilience_counters_t *counters)
{
    ngx_http_resilience_metric_label(out, "llm_tokens_total", counters);
    ngx_http_resilience_out_printf(out, ",direction=\"input\"} %uA\n",
                                   counters->input_tokens);

    ngx_http_resilience_metric_label(out, "llm_tokens_total", counters);
    ngx_http_resilience_out_printf(out, ",direction=\"output\"} %uA\n",
                                   counters->output_tokens);
}


static void
ngx_http_resilience_metric_histogram(ngx_http_resilience_out_t *out,
    ngx_http_resilience_counters_t *counters, const char *name,
    const res_histogram_t *histogram)
{
    uint32_t               bound;
    ngx_uint_t             i;
    res_histogram_total_t  total;

    res_histogram_total(histogram, &total);

    for (i = 0; i < RES_HISTOGRAM_BUCKETS; i++) {

        ngx_http_resilience_out_printf(out, "%s_bucket{provider=", name);
        ngx_http_resilience_out_string(out, counters->name, counters->len);

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

    ngx_http_resilience_out_printf(out, "%s_sum{provider=", name);
    ngx_http_resilience_out_string(out, counters->name, counters->len);
    ngx_http_resilience_out_printf(out, "} %uL.%03uL\n", total.sum / 1000,
                                   total.sum % 1000);

    ngx_http_resilience_out_printf(out, "%s_count{provider=", name);
    ngx_http_resilience_out_string(out, counters->name, counters->len);
    ngx_http_resilience_out_printf(out, "} %uL\n",
                                   total.counts[RES_HISTOGRAM_BUCKETS - 1]);
}
