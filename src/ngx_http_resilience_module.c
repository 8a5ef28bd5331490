
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"
#include "ngx_http_resilience_limit.h"


static char *ngx_http_resilience_pass(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_resilience_pass_add(ngx_conf_t *cf,
    ngx_http_resilience_loc_conf_t *rlcf);
static ngx_int_t ngx_http_resilience_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_resilience_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_resilience_init_process(ngx_cycle_t *cycle);
static void ngx_http_resilience_exit_process(ngx_cycle_t *cycle);
static void ngx_http_resilience_exit_master(ngx_cycle_t *cycle);
static void *ngx_http_resilience_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_resilience_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_resilience_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);


static ngx_command_t  ngx_http_resilience_commands[] = {

    { ngx_string("resilience_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE12,
      ngx_http_resilience_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("resilience_policy"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_resilience_policy,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("resilience_provider"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_resilience_provider,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("resilience_endpoint"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE12,
      ngx_http_resilience_endpoint,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("resilience_chain"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_http_resilience_chain,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("resilience_pass"),
      NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF|NGX_CONF_TAKE1,
      ngx_http_resilience_pass,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("resilience_tenant"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE123,
      ngx_http_resilience_tenant,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("resilience_limit"),
      NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_2MORE,
      ngx_http_resilience_limit,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("resilience_limit_dry_run"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_resilience_loc_conf_t, dry_run),
      NULL },

    { ngx_string("resilience_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS|NGX_CONF_TAKE123,
      ngx_http_resilience_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("resilience_headers"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_resilience_loc_conf_t, headers),
      NULL },

    { ngx_string("llm_dialect"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_resilience_dialect,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_key"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_resilience_key,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_key_file"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_resilience_key_file,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_model"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE2,
      ngx_http_resilience_model,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_hold"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_resilience_hold,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("llm_usage"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_resilience_usage,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_resilience_module_ctx = {
    ngx_http_resilience_preconfiguration,  /* preconfiguration */
    ngx_http_resilience_postconfiguration, /* postconfiguration */

    ngx_http_resilience_create_main_conf,  /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_resilience_create_loc_conf,   /* create location configuration */
    ngx_http_resilience_merge_loc_conf     /* merge location configuration */
};


ngx_module_t  ngx_http_resilience_module = {
    NGX_MODULE_V1,
    &ngx_http_resilience_module_ctx,       /* module context */
    ngx_http_resilience_commands,          /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_resilience_init_process,      /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_resilience_exit_process,      /* exit process */
    ngx_http_resilience_exit_master,       /* exit master */
    NGX_MODULE_V1_PADDING
};


static char *
ngx_http_resilience_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_resilience_loc_conf_t *rlcf = conf;

    ngx_str_t                         *value;
    ngx_http_core_loc_conf_t          *clcf;
    ngx_http_compile_complex_value_t   ccv;

    if (rlcf->chain_name.len || rlcf->chain_value) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"resilience_pass\" wants the name of a chain");
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_resilience_handler;

    if (ngx_http_script_variables_count(&value[1])) {

        rlcf->chain_value = ngx_palloc(cf->pool,
                                       sizeof(ngx_http_complex_value_t));
        if (rlcf->chain_value == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &value[1];
        ccv.complex_value = rlcf->chain_value;

        if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    rlcf->chain_name = value[1];
    rlcf->place.file = cf->conf_file->file.name.data;
    rlcf->place.line = cf->conf_file->line;

    return ngx_http_resilience_pass_add(cf, rlcf);
}


/* the name is looked up when all names are known */

static char *
ngx_http_resilience_pass_add(ngx_conf_t *cf,
    ngx_http_resilience_loc_conf_t *rlcf)
{
    ngx_http_resilience_loc_conf_t   **slot;
    ngx_http_resilience_main_conf_t   *rmcf;

    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_resilience_module);

    slot = ngx_array_push(&rmcf->passes);
    if (slot == NULL) {
        return NGX_CONF_ERROR;
    }

    *slot = rlcf;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_resilience_preconfiguration(ngx_conf_t *cf)
{
    return ngx_http_resilience_add_variables(cf);
}


static ngx_int_t
ngx_http_resilience_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_resilience_main_conf_t  *rmcf;

    rmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_resilience_module);

    if (ngx_http_resilience_chains_init(cf, rmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_resilience_cache_init(cf, rmcf) != NGX_OK
        || ngx_http_resilience_stale_init(cf, rmcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* no one pays for what no one uses */

    if (rmcf->zone_name.len == 0 && rmcf->providers.nelts == 0
        && rmcf->limits.nelts == 0)
    {
        return NGX_OK;
    }

    if (ngx_http_resilience_zone_add(cf, rmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (rmcf->limits.nelts && ngx_http_resilience_limit_init(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_resilience_filter_init(cf);
}


static ngx_int_t
ngx_http_resilience_init_process(ngx_cycle_t *cycle)
{
    ngx_http_resilience_flight_start(cycle);
    ngx_http_resilience_state_start(cycle);

    return ngx_http_resilience_drain_start(cycle);
}


static void
ngx_http_resilience_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_resilience_state_stop();
    ngx_http_resilience_flight_stop(cycle);
}


static void
ngx_http_resilience_exit_master(ngx_cycle_t *cycle)
{
    ngx_http_resilience_main_conf_t  *rmcf;

    rmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_resilience_module);

    if (rmcf && rmcf->zone && rmcf->zone->state.len) {
        ngx_http_resilience_state_save(rmcf->zone, cycle->log);
    }
}


static void *
ngx_http_resilience_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_resilience_main_conf_t  *rmcf;

    rmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_resilience_main_conf_t));
    if (rmcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     rmcf->zone = NULL;
     *     rmcf->zone_name = { 0, NULL };
     *     rmcf->zone_size = 0;
     *     rmcf->zone_state = { 0, NULL };
     *     rmcf->providers_ctx = NULL;
     */

    if (ngx_array_init(&rmcf->policies, cf->pool, 4, sizeof(void *)) != NGX_OK
        || ngx_array_init(&rmcf->providers, cf->pool, 4, sizeof(void *))
           != NGX_OK
        || ngx_array_init(&rmcf->chains, cf->pool, 4, sizeof(void *)) != NGX_OK
        || ngx_array_init(&rmcf->passes, cf->pool, 4, sizeof(void *))
           != NGX_OK
        || ngx_array_init(&rmcf->limits, cf->pool, 4, sizeof(void *))
           != NGX_OK)
    {
        return NULL;
    }

    return rmcf;
}


static void *
ngx_http_resilience_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_resilience_loc_conf_t  *rlcf;

    rlcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_resilience_loc_conf_t));
    if (rlcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     rlcf->chain = NULL;
     *     rlcf->chain_name = { 0, NULL };
     *     rlcf->chain_value = NULL;
     *     rlcf->tenant_hash = 0;
     *     rlcf->tenant_required = 0;
     *     rlcf->limits = NULL;
     *     rlcf->provider = NULL;
     */

    rlcf->tenant = NGX_CONF_UNSET_PTR;
    rlcf->dry_run = NGX_CONF_UNSET;
    rlcf->headers = NGX_CONF_UNSET;

    return rlcf;
}


static char *
ngx_http_resilience_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_resilience_loc_conf_t *prev = parent;
    ngx_http_resilience_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    ngx_conf_merge_value(conf->dry_run, prev->dry_run, 0);
    ngx_conf_merge_value(conf->headers, prev->headers, 0);

    if (conf->limits == NULL) {
        conf->limits = prev->limits;
    }

    if (conf->tenant == NGX_CONF_UNSET_PTR) {
        ngx_conf_merge_ptr_value(conf->tenant, prev->tenant, NULL);
        conf->tenant_hash = prev->tenant_hash;
        conf->tenant_required = prev->tenant_required;
    }

    /* as with proxy_pass: an "if" or a "limit_except" block inherits it */

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->noname && clcf->handler == NULL && prev->chain_name.len
        && conf->chain_name.len == 0 && conf->chain_value == NULL)
    {
        conf->chain_name = prev->chain_name;
        conf->place = prev->place;
        clcf->handler = ngx_http_resilience_handler;

        return ngx_http_resilience_pass_add(cf, conf);
    }

    if (clcf->noname && clcf->handler == NULL && prev->chain_value
        && conf->chain_name.len == 0 && conf->chain_value == NULL)
    {
        conf->chain_value = prev->chain_value;
        clcf->handler = ngx_http_resilience_handler;
    }

    return NGX_CONF_OK;
}
