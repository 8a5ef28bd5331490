
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/* what a policy is before its own directives are read */


typedef struct {
    ngx_str_t              name;
    ngx_msec_t             timeouts[5];  /* connect, first byte, idle,
                                            attempt, total; 0: off */
    ngx_uint_t             failures;
    ngx_msec_t             open;
    ngx_uint_t             retries;
    ngx_msec_t             base;
    ngx_msec_t             max;
    res_jitter_e           jitter;
    ngx_flag_t             non_idempotent;
} ngx_http_resilience_preset_t;


static void ngx_http_resilience_preset_set(
    ngx_http_resilience_policy_t *policy,
    ngx_http_resilience_preset_t *preset);


/* the first is the default */

static ngx_http_resilience_preset_t  ngx_http_resilience_presets[] = {
    { ngx_string("http_external"), { 10000, 0, 0, 60000, 0 },
      5, 120000, 5, 100, 10000, RES_JITTER_SPREAD, 0 },
    { ngx_string("llm_chat"), { 2000, 30000, 30000, 300000, 600000 },
      5, 60000, 2, 500, 8000, RES_JITTER_FULL, 1 },
    { ngx_string("llm_batch"), { 5000, 600000, 120000, 600000, 0 },
      10, 60000, 5, 1000, 60000, RES_JITTER_FULL, 1 },
    { ngx_string("llm_embedding"), { 2000, 10000, 10000, 30000, 60000 },
      5, 30000, 2, 500, 8000, RES_JITTER_FULL, 1 },
    { ngx_string("grpc"), { 0, 0, 0, 30000, 0 },
      5, 60000, 3, 500, 8000, RES_JITTER_FULL, 0 },
    { ngx_string("database"), { 0, 0, 0, 10000, 0 },
      10, 30000, 0, 500, 8000, RES_JITTER_FULL, 0 },
    { ngx_string("redis"), { 0, 0, 0, 5000, 0 },
      3, 15000, 2, 500, 8000, RES_JITTER_FULL, 1 },
    { ngx_string("kafka"), { 0, 0, 0, 5000, 0 },
      5, 30000, 3, 500, 8000, RES_JITTER_FULL, 0 },
    { ngx_string("object_storage"), { 0, 0, 0, 120000, 0 },
      5, 60000, 5, 500, 8000, RES_JITTER_FULL, 0 },
    { ngx_null_string, { 0, 0, 0, 0, 0 }, 0, 0, 0, 0, 0, RES_JITTER_FULL, 0 }
};


void
ngx_http_resilience_preset_default(ngx_http_resilience_policy_t *policy)
{
    policy->name = ngx_http_resilience_presets[0].name;

    policy->retry_on = RES_RETRY_ON;
    policy->fallback_on = RES_FALLBACK_ON;
    policy->fail_on = RES_FAIL_ON;

    ngx_http_resilience_preset_set(policy, &ngx_http_resilience_presets[0]);
}


ngx_int_t
ngx_http_resilience_preset_apply(ngx_http_resilience_policy_t *policy,
    ngx_str_t *name)
{
    ngx_http_resilience_preset_t  *preset;

    for (preset = ngx_http_resilience_presets; preset->name.len; preset++) {

        if (preset->name.len == name->len
            && ngx_strncmp(preset->name.data, name->data, name->len) == 0)
        {
            ngx_http_resilience_preset_set(policy, preset);
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


u_char *
ngx_http_resilience_preset_list(u_char *p, u_char *last)
{
    ngx_http_resilience_preset_t  *preset;

    for (preset = ngx_http_resilience_presets; preset->name.len; preset++) {
        p = ngx_slprintf(p, last, " %V", &preset->name);
    }

    return p;
}


static void
ngx_http_resilience_preset_set(ngx_http_resilience_policy_t *policy,
    ngx_http_resilience_preset_t *preset)
{
    policy->connect = preset->timeouts[0];
    policy->first_byte = preset->timeouts[1];
    policy->idle = preset->timeouts[2];
    policy->attempt = preset->timeouts[3];
    policy->total = preset->timeouts[4];

    policy->retries = preset->retries;

    policy->backoff.strategy = RES_BACKOFF_EXPONENTIAL;
    policy->backoff.jitter = preset->jitter;
    policy->backoff.base = preset->base;
    policy->backoff.max = preset->max;
    policy->backoff.factor = 2000;
    policy->backoff.spread = 30;

    policy->non_idempotent = preset->non_idempotent;

    policy->hints = 1;
    policy->hint_max = 60000;

    policy->breaker.failures = preset->failures;
    policy->breaker.error_rate = 50;
    policy->breaker.window = 100;
    policy->breaker.min_calls = 20;
    policy->breaker.open = preset->open;
    policy->breaker.open_max = 10 * preset->open;
    policy->breaker.probes = 3;
    policy->breaker.successes = 2;
    policy->breaker.off = 0;
}
