
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>


/* who is calling: whose breakers count, and what a log or the status shows */


#define NGX_HTTP_RESILIENCE_HASH_LEN  16      /* hex digits */


static ngx_uint_t ngx_http_resilience_tenant_fits(ngx_str_t *tenant);
static ngx_int_t ngx_http_resilience_tenant_hash(ngx_http_request_t *r,
    ngx_http_resilience_zone_t *zone, ngx_str_t *tenant);


char *
ngx_http_resilience_tenant(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_resilience_loc_conf_t *rlcf = conf;

    ngx_str_t                         *value;
    ngx_uint_t                         i;
    ngx_http_compile_complex_value_t   ccv;

    if (rlcf->tenant != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "hash") == 0) {
            rlcf->tenant_hash = 1;

        } else if (ngx_strcmp(value[i].data, "required") == 0) {
            rlcf->tenant_required = 1;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", use \"hash\" or "
                               "\"required\"", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    rlcf->tenant = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (rlcf->tenant == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[1];
    ccv.complex_value = rlcf->tenant;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_resilience_tenant_get(ngx_http_request_t *r,
    ngx_http_resilience_zone_t *zone, ngx_str_t *tenant)
{
    ngx_http_resilience_loc_conf_t  *rlcf;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_resilience_module);

    if (rlcf->tenant == NULL) {
        ngx_str_set(tenant, "-");
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, rlcf->tenant, tenant) != NGX_OK) {
        return NGX_ERROR;
    }

    if (tenant->len == 0) {

        if (rlcf->tenant_required) {
            return NGX_HTTP_UNAUTHORIZED;
        }

        ngx_str_set(tenant, "-");
        return NGX_OK;
    }

    if (rlcf->tenant_hash || !ngx_http_resilience_tenant_fits(tenant)) {
        return ngx_http_resilience_tenant_hash(r, zone, tenant);
    }

    return NGX_OK;
}


/* it is kept and logged as it is, and may be a client's word */

static ngx_uint_t
ngx_http_resilience_tenant_fits(ngx_str_t *tenant)
{
    size_t  i;

    if (tenant->len > RES_TENANT_LEN) {
        return 0;
    }

    for (i = 0; i < tenant->len; i++) {
        if (tenant->data[i] < ' ' || tenant->data[i] == 0x7f) {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_http_resilience_tenant_hash(ngx_http_request_t *r,
    ngx_http_resilience_zone_t *zone, ngx_str_t *tenant)
{
    u_char        *p;
    unsigned int   len;
    u_char         md[EVP_MAX_MD_SIZE];

    len = 0;

    if (HMAC(EVP_sha256(), zone->shared->hmac_key,
             sizeof(zone->shared->hmac_key), tenant->data, tenant->len,
             md, &len)
        == NULL)
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "HMAC() of a tenant failed");
        return NGX_ERROR;
    }

    p = ngx_pnalloc(r->pool, NGX_HTTP_RESILIENCE_HASH_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(p, md, NGX_HTTP_RESILIENCE_HASH_LEN / 2);

    tenant->data = p;
    tenant->len = NGX_HTTP_RESILIENCE_HASH_LEN;

    return NGX_OK;
}
