
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_body.h"


/*
 * $resilience_..., $llm_...: in a provider they speak of the attempt, anywhere
 * else of the call.
 */


static ngx_int_t ngx_http_resilience_variable_tenant(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_resilience_variable_chain(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_resilience_variable_provider(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_resilience_variable_attempt(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_resilience_variable_attempts(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_resilience_variable_trace(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_resilience_variable_outcome(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_resilience_variable_time(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_resilience_variable_deadline(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_resilience_variable_model(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_resilience_variable_tokens(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_http_resilience_call_t *ngx_http_resilience_variable_call(
    ngx_http_request_t *r);
static ngx_http_resilience_attempt_t *ngx_http_resilience_variable_attempt_of(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_resilience_variable_number(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, ngx_int_t n);
static void ngx_http_resilience_variable_set(ngx_http_variable_value_t *v,
    u_char *data, size_t len);


static ngx_http_variable_t  ngx_http_resilience_vars[] = {

    { ngx_string("resilience_tenant"), NULL,
      ngx_http_resilience_variable_tenant, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("resilience_chain"), NULL,
      ngx_http_resilience_variable_chain, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("resilience_provider"), NULL,
      ngx_http_resilience_variable_provider, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("resilience_attempt"), NULL,
      ngx_http_resilience_variable_attempt, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("resilience_attempts"), NULL,
      ngx_http_resilience_variable_attempts, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("resilience_trace"), NULL,
      ngx_http_resilience_variable_trace, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("resilience_outcome"), NULL,
      ngx_http_resilience_variable_outcome, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("resilience_wait_time"), NULL,
      ngx_http_resilience_variable_time,
      offsetof(ngx_http_resilience_call_t, waited),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("resilience_first_byte_time"), NULL,
      ngx_http_resilience_variable_time,
      offsetof(ngx_http_resilience_call_t, first_byte),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("resilience_deadline"), NULL,
      ngx_http_resilience_variable_deadline, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_model"), NULL,
      ngx_http_resilience_variable_model, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_input_tokens"), NULL,
      ngx_http_resilience_variable_tokens, offsetof(llm_usage_t, input),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("llm_output_tokens"), NULL,
      ngx_http_resilience_variable_tokens, offsetof(llm_usage_t, output),
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_resilience_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_resilience_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


/* a call that is still reading its request's body has little to tell */

static ngx_http_resilience_call_t *
ngx_http_resilience_variable_call(ngx_http_request_t *r)
{
    ngx_http_resilience_attempt_t  *a;

    a = ngx_http_resilience_get_attempt(r);

    return a ? a->call : ngx_http_resilience_get_call(r);
}


static void
ngx_http_resilience_variable_set(ngx_http_variable_value_t *v, u_char *data,
    size_t len)
{
    v->data = data;
    v->len = len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
}


static ngx_int_t
ngx_http_resilience_variable_tenant(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_resilience_call_t  *call;

    call = ngx_http_resilience_variable_call(r);

    if (call == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_http_resilience_variable_set(v, call->tenant.data, call->tenant.len);

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_variable_chain(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_resilience_call_t  *call;

    call = ngx_http_resilience_variable_call(r);

    if (call == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_http_resilience_variable_set(v, call->chain->name.data,
                                     call->chain->name.len);

    return NGX_OK;
}


/* the attempt that a variable speaks of: this one, the winner, or none */

static ngx_http_resilience_attempt_t *
ngx_http_resilience_variable_attempt_of(ngx_http_request_t *r)
{
    ngx_http_resilience_call_t     *call;
    ngx_http_resilience_attempt_t  *a;

    a = ngx_http_resilience_get_attempt(r);

    if (a) {
        return a;
    }

    call = ngx_http_resilience_get_call(r);

    return call ? call->winner : NULL;
}


static ngx_int_t
ngx_http_resilience_variable_provider(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                      *name;
    ngx_http_resilience_attempt_t  *a;

    a = ngx_http_resilience_variable_attempt_of(r);

    if (a == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    name = &a->step->provider->name;

    ngx_http_resilience_variable_set(v, name->data, name->len);

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_variable_number(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, ngx_int_t n)
{
    u_char  *p;

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_http_resilience_variable_set(v, p, ngx_sprintf(p, "%i", n) - p);

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_variable_attempt(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_resilience_attempt_t  *a;

    a = ngx_http_resilience_variable_attempt_of(r);

    if (a == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_http_resilience_variable_number(r, v, a->number);
}


static ngx_int_t
ngx_http_resilience_variable_attempts(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_resilience_call_t  *call;

    call = ngx_http_resilience_variable_call(r);

    if (call == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_http_resilience_variable_number(r, v, call->attempts);
}


static ngx_int_t
ngx_http_resilience_variable_trace(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    size_t                        len;
    u_char                       *p, *start;
    ngx_uint_t                    i;
    const char                   *outcome;
    ngx_http_resilience_call_t   *call;
    ngx_http_resilience_trace_t  *t;

    call = ngx_http_resilience_variable_call(r);

    if (call == NULL || call->trace.nelts == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    t = call->trace.elts;
    len = 0;

    for (i = 0; i < call->trace.nelts; i++) {
        len += t[i].provider->name.len
               + ngx_strlen(res_outcome_name(t[i].outcome))
               + NGX_INT_T_LEN + NGX_TIME_T_LEN + sizeof(":::.000, ") - 1;
    }

    start = ngx_pnalloc(r->pool, len);
    if (start == NULL) {
        return NGX_ERROR;
    }

    p = start;

    for (i = 0; i < call->trace.nelts; i++) {

        outcome = res_outcome_name(t[i].outcome);

        p = ngx_sprintf(p, "%s%V:%s:%ui:%M.%03M", i ? ", " : "",
                        &t[i].provider->name, outcome, t[i].status,
                        t[i].elapsed / 1000, t[i].elapsed % 1000);
    }

    ngx_http_resilience_variable_set(v, start, p - start);

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_variable_outcome(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                      *name;
    ngx_http_resilience_call_t  *call;

    call = ngx_http_resilience_variable_call(r);

    if (call == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    name = (u_char *) res_outcome_name(ngx_http_resilience_call_outcome(call));

    ngx_http_resilience_variable_set(v, name, ngx_strlen(name));

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_variable_time(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                      *p;
    ngx_msec_t                   ms;
    ngx_http_resilience_call_t  *call;

    call = ngx_http_resilience_variable_call(r);

    if (call == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (data == offsetof(ngx_http_resilience_call_t, first_byte)
        && call->winner == NULL)
    {
        v->not_found = 1;
        return NGX_OK;
    }

    ms = *(ngx_msec_t *) ((u_char *) call + data);

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_http_resilience_variable_set(v, p,
                         ngx_sprintf(p, "%M.%03M", ms / 1000, ms % 1000) - p);

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_variable_deadline(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_msec_int_t               left;
    ngx_http_resilience_call_t  *call;

    call = ngx_http_resilience_variable_call(r);

    if (call == NULL || call->deadline == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    left = ngx_http_resilience_call_left(call);

    return ngx_http_resilience_variable_number(r, v, ngx_max(left, 0));
}


/* the client's request is read for it, if nothing else has had it read */

static ngx_int_t
ngx_http_resilience_variable_model(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                       model;
    ngx_http_resilience_call_t     *call;
    ngx_http_resilience_attempt_t  *a;

    call = ngx_http_resilience_variable_call(r);

    if (call == NULL || call->state == NGX_HTTP_RESILIENCE_CALL_READING) {
        v->not_found = 1;
        return NGX_OK;
    }

    a = ngx_http_resilience_variable_attempt_of(r);

    if (ngx_http_resilience_body_model_name(call, a, &model) != NGX_OK) {
        return NGX_ERROR;
    }

    if (model.len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_http_resilience_variable_set(v, model.data, model.len);

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_variable_tokens(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    int64_t                         n;
    ngx_http_resilience_attempt_t  *a;

    a = ngx_http_resilience_variable_attempt_of(r);

    n = a ? *(int64_t *) ((u_char *) &a->usage + data) : -1;

    if (n < 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_http_resilience_variable_number(r, v, n);
}
