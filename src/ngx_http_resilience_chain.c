
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience.h"


/* resilience_chain name { ... }, and what the names in it stand for */


typedef struct {
    ngx_http_resilience_chain_t  *chain;
    ngx_uint_t                    seen;
} ngx_http_resilience_chain_ctx_t;


typedef struct {
    ngx_str_t                     name;
    char                       *(*set)(ngx_conf_t *cf,
                                       ngx_http_resilience_chain_t *chain);
    ngx_uint_t                    min;
    ngx_uint_t                    max;
    ngx_uint_t                    many;   /* may be given more than once */
} ngx_http_resilience_chain_cmd_t;


static char *ngx_http_resilience_chain_directive(ngx_conf_t *cf,
    ngx_command_t *dummy, void *conf);
static void ngx_http_resilience_chain_weights(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain);
static char *ngx_http_resilience_chain_policy(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain);
static char *ngx_http_resilience_chain_provider(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain);
static char *ngx_http_resilience_chain_balance(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain);
static char *ngx_http_resilience_chain_attempts(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain);
static char *ngx_http_resilience_chain_when_open(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain);
static ngx_http_resilience_chain_t *ngx_http_resilience_chain_add(
    ngx_conf_t *cf, ngx_http_resilience_main_conf_t *rmcf, ngx_str_t *name);
static ngx_int_t ngx_http_resilience_chain_init(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_chain_t *chain);
static ngx_int_t ngx_http_resilience_chain_singles(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf);
static ngx_http_resilience_policy_t *ngx_http_resilience_chain_policy_get(
    ngx_conf_t *cf, ngx_http_resilience_main_conf_t *rmcf, ngx_str_t *name,
    ngx_http_resilience_place_t *place);


static ngx_http_resilience_chain_cmd_t  ngx_http_resilience_chain_cmds[] = {
    { ngx_string("policy"), ngx_http_resilience_chain_policy, 1, 1, 0 },
    { ngx_string("provider"), ngx_http_resilience_chain_provider, 1, 3, 1 },
    { ngx_string("balance"), ngx_http_resilience_chain_balance, 1, 1, 0 },
    { ngx_string("attempts"), ngx_http_resilience_chain_attempts, 1, 1, 0 },
    { ngx_string("when_open"), ngx_http_resilience_chain_when_open, 1, 1, 0 },
    { ngx_string("fallback"), ngx_http_resilience_fallback, 1, 3, 1 },
    { ngx_null_string, NULL, 0, 0, 0 }
};


char *
ngx_http_resilience_chain(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_resilience_main_conf_t *rmcf = conf;

    char                             *rv;
    ngx_str_t                        *value;
    ngx_conf_t                        save;
    ngx_http_resilience_chain_ctx_t   ctx;

    value = cf->args->elts;

    if (value[1].len > NGX_HTTP_RESILIENCE_NAME) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "name of chain \"%V\" is longer than %d bytes",
                           &value[1], NGX_HTTP_RESILIENCE_NAME);
        return NGX_CONF_ERROR;
    }

    if (value[1].len == 0 || ngx_http_resilience_chain_find(rmcf, &value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "empty or duplicate chain name \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&ctx, sizeof(ngx_http_resilience_chain_ctx_t));

    ctx.chain = ngx_http_resilience_chain_add(cf, rmcf, &value[1]);
    if (ctx.chain == NULL) {
        return NGX_CONF_ERROR;
    }

    ctx.chain->named = 1;

    save = *cf;
    cf->handler = ngx_http_resilience_chain_directive;
    cf->handler_conf = (void *) &ctx;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ctx.chain->steps.nelts == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "chain \"%V\" has no \"provider\"",
                           &ctx.chain->name);
        return NGX_CONF_ERROR;
    }

    ngx_http_resilience_chain_weights(cf, ctx.chain);

    return NGX_CONF_OK;
}


static void
ngx_http_resilience_chain_weights(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain)
{
    ngx_uint_t                   i;
    ngx_http_resilience_step_t  *step;

    if (chain->balance == NGX_HTTP_RESILIENCE_WEIGHTED) {
        return;
    }

    step = chain->steps.elts;

    for (i = 0; i < chain->steps.nelts; i++) {

        if (step[i].weighted) {
            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "\"weight=%uD\" of provider \"%V\" means "
                               "nothing in chain \"%V\" without \"balance "
                               "weighted\"", step[i].weight,
                               &step[i].provider_name, &chain->name);
        }
    }
}


static ngx_http_resilience_chain_t *
ngx_http_resilience_chain_add(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf, ngx_str_t *name)
{
    ngx_http_resilience_chain_t  *chain, **slot;

    chain = ngx_pcalloc(cf->pool, sizeof(ngx_http_resilience_chain_t));
    slot = ngx_array_push(&rmcf->chains);

    if (chain == NULL || slot == NULL) {
        return NULL;
    }

    if (ngx_array_init(&chain->steps, cf->pool, 4,
                       sizeof(ngx_http_resilience_step_t))
        != NGX_OK)
    {
        return NULL;
    }

    *slot = chain;

    chain->name = *name;
    chain->place.file = cf->conf_file->file.name.data;
    chain->place.line = cf->conf_file->line;
    chain->attempts = 6;

    return chain;
}


ngx_http_resilience_chain_t *
ngx_http_resilience_chain_find(ngx_http_resilience_main_conf_t *rmcf,
    ngx_str_t *name)
{
    ngx_uint_t                     i;
    ngx_http_resilience_chain_t  **chains;

    chains = rmcf->chains.elts;

    for (i = 0; i < rmcf->chains.nelts; i++) {
        if (chains[i]->name.len == name->len
            && ngx_memcmp(chains[i]->name.data, name->data, name->len) == 0)
        {
            return chains[i];
        }
    }

    return NULL;
}


static char *
ngx_http_resilience_chain_directive(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf)
{
    ngx_str_t                        *value;
    ngx_uint_t                        i;
    ngx_http_resilience_chain_cmd_t  *cmd;
    ngx_http_resilience_chain_ctx_t  *ctx;

    ctx = cf->handler_conf;
    value = cf->args->elts;

    for (i = 0; /* void */; i++) {
        cmd = &ngx_http_resilience_chain_cmds[i];

        if (cmd->name.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "unknown directive \"%V\" in chain \"%V\"",
                               &value[0], &ctx->chain->name);
            return NGX_CONF_ERROR;
        }

        if (cmd->name.len == value[0].len
            && ngx_strcmp(cmd->name.data, value[0].data) == 0)
        {
            break;
        }
    }

    if (!cmd->many && (ctx->seen & ((ngx_uint_t) 1 << i))) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" directive is duplicate in chain \"%V\"",
                           &value[0], &ctx->chain->name);
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts - 1 < cmd->min || cf->args->nelts - 1 > cmd->max) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of arguments in \"%V\" directive "
                           "of chain \"%V\"", &value[0], &ctx->chain->name);
        return NGX_CONF_ERROR;
    }

    ctx->seen |= (ngx_uint_t) 1 << i;

    return cmd->set(cf, ctx->chain);
}


static char *
ngx_http_resilience_chain_policy(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    chain->policy_name = value[1];
    chain->policy_place.file = cf->conf_file->file.name.data;
    chain->policy_place.line = cf->conf_file->line;

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_chain_provider(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain)
{
    ngx_int_t                    weight;
    ngx_str_t                   *value;
    ngx_uint_t                   i;
    ngx_http_resilience_step_t  *step;

    value = cf->args->elts;
    step = chain->steps.elts;

    for (i = 0; i < chain->steps.nelts; i++) {
        if (step[i].provider_name.len == value[1].len
            && ngx_memcmp(step[i].provider_name.data, value[1].data,
                          value[1].len) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "provider \"%V\" is twice in chain \"%V\", "
                               "use \"retry\" of its policy to call it again",
                               &value[1], &chain->name);
            return NGX_CONF_ERROR;
        }
    }

    step = ngx_array_push(&chain->steps);
    if (step == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(step, sizeof(ngx_http_resilience_step_t));

    step->weight = 1;
    step->provider_name = value[1];
    step->place.file = cf->conf_file->file.name.data;
    step->place.line = cf->conf_file->line;

    for (i = 2; i < cf->args->nelts; i++) {

        if (i == 3 && ngx_strncmp(value[3].data, value[2].data, 7) == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\" of provider \"%V\"",
                               &value[3], &value[1]);
            return NGX_CONF_ERROR;
        }

        if (ngx_strncmp(value[i].data, "policy=", 7) == 0
            && value[i].len > 7)
        {
            step->policy_name.data = value[i].data + 7;
            step->policy_name.len = value[i].len - 7;
            continue;
        }

        if (ngx_strncmp(value[i].data, "weight=", 7) == 0) {

            weight = ngx_atoi(value[i].data + 7, value[i].len - 7);

            if (weight == NGX_ERROR || weight > 1000000) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid \"%V\" of provider \"%V\", a "
                                   "weight is from 0 to 1000000", &value[i],
                                   &value[1]);
                return NGX_CONF_ERROR;
            }

            step->weight = weight;
            step->weighted = 1;
            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" of provider \"%V\", "
                           "use \"policy=name\" or \"weight=number\"",
                           &value[i], &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_chain_balance(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "order") == 0) {
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "weighted") == 0) {
        chain->balance = NGX_HTTP_RESILIENCE_WEIGHTED;
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "least_latency") == 0) {
        chain->balance = NGX_HTTP_RESILIENCE_LEAST_LATENCY;
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid balance \"%V\", use \"order\", \"weighted\" "
                       "or \"least_latency\"", &value[1]);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_resilience_chain_attempts(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain)
{
    ngx_int_t   n;
    ngx_str_t  *value;

    value = cf->args->elts;

    n = ngx_atoi(value[1].data, value[1].len);

    if (n == NGX_ERROR || n < 1 || n > 100) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid number of attempts \"%V\", "
                           "it must be from 1 to 100", &value[1]);
        return NGX_CONF_ERROR;
    }

    chain->attempts = n;

    return NGX_CONF_OK;
}


static char *
ngx_http_resilience_chain_when_open(ngx_conf_t *cf,
    ngx_http_resilience_chain_t *chain)
{
    ngx_int_t   n;
    ngx_str_t  *value, time;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "fail") == 0) {
        return NGX_CONF_OK;
    }

    if (ngx_strcmp(value[1].data, "try") == 0) {
        chain->open_try = 1;
        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value[1].data, "wait=", 5) == 0) {

        time.data = value[1].data + 5;
        time.len = value[1].len - 5;

        n = ngx_parse_time(&time, 0);

        if (n != NGX_ERROR && n > 0) {
            chain->open_wait = n;
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" of \"when_open\", use \"fail\", "
                       "\"try\" or \"wait=time\"", &value[1]);

    return NGX_CONF_ERROR;
}


ngx_int_t
ngx_http_resilience_chains_init(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf)
{
    ngx_uint_t                        i;
    ngx_http_resilience_chain_t     **chains;
    ngx_http_resilience_loc_conf_t  **passes;
    ngx_http_resilience_provider_t  **providers;

    providers = rmcf->providers.elts;

    for (i = 0; i < rmcf->providers.nelts; i++) {
        if (ngx_http_resilience_key_init(cf, providers[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_http_resilience_chain_singles(cf, rmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    chains = rmcf->chains.elts;

    for (i = 0; i < rmcf->chains.nelts; i++) {
        if (ngx_http_resilience_chain_init(cf, rmcf, chains[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    passes = rmcf->passes.elts;

    for (i = 0; i < rmcf->passes.nelts; i++) {
        passes[i]->chain = ngx_http_resilience_chain_find(rmcf,
                                                       &passes[i]->chain_name);
        if (passes[i]->chain == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "unknown chain or provider \"%V\" in "
                          "\"resilience_pass\" in %s:%ui",
                          &passes[i]->chain_name, passes[i]->place.file,
                          passes[i]->place.line);
            return NGX_ERROR;
        }

        passes[i]->chain->named = 1;
    }

    return NGX_OK;
}


/*
 * A provider's name works as a chain of that one, with the default policy,
 * unless there is a chain of the same name.
 */

static ngx_int_t
ngx_http_resilience_chain_singles(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf)
{
    ngx_uint_t                        i;
    ngx_http_resilience_step_t       *step;
    ngx_http_resilience_chain_t      *chain;
    ngx_http_resilience_provider_t  **providers;

    providers = rmcf->providers.elts;

    for (i = 0; i < rmcf->providers.nelts; i++) {

        chain = ngx_http_resilience_chain_find(rmcf, &providers[i]->name);

        if (chain) {
            continue;
        }

        chain = ngx_http_resilience_chain_add(cf, rmcf, &providers[i]->name);
        if (chain == NULL) {
            return NGX_ERROR;
        }

        chain->single = 1;

        step = ngx_array_push(&chain->steps);
        if (step == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(step, sizeof(ngx_http_resilience_step_t));

        step->provider_name = providers[i]->name;
        step->place = providers[i]->place;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_chain_init(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf, ngx_http_resilience_chain_t *chain)
{
    ngx_uint_t                     i;
    ngx_http_resilience_step_t    *step;
    ngx_http_resilience_policy_t  *policy;

    policy = ngx_http_resilience_chain_policy_get(cf, rmcf,
                                                  &chain->policy_name,
                                                  &chain->policy_place);
    if (policy == NULL) {
        return NGX_ERROR;
    }

    step = chain->steps.elts;

    chain->order = ngx_palloc(cf->pool, chain->steps.nelts
                                        * sizeof(ngx_http_resilience_step_t *));
    chain->moves = ngx_pcalloc(cf->pool, chain->steps.nelts
                                         * chain->steps.nelts
                                         * sizeof(void *));
    if (chain->order == NULL || chain->moves == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < chain->steps.nelts; i++) {

        chain->order[i] = &step[i];

        step[i].provider = ngx_http_resilience_provider_find(rmcf,
                                                       &step[i].provider_name);
        if (step[i].provider == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "unknown provider \"%V\" in chain \"%V\" in %s:%ui",
                          &step[i].provider_name, &chain->name,
                          step[i].place.file, step[i].place.line);
            return NGX_ERROR;
        }

        if (step[i].policy_name.len == 0) {
            step[i].policy = policy;
            continue;
        }

        step[i].policy = ngx_http_resilience_chain_policy_get(cf, rmcf,
                                                         &step[i].policy_name,
                                                         &step[i].place);
        if (step[i].policy == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_http_resilience_policy_t *
ngx_http_resilience_chain_policy_get(ngx_conf_t *cf,
    ngx_http_resilience_main_conf_t *rmcf, ngx_str_t *name,
    ngx_http_resilience_place_t *place)
{
    ngx_http_resilience_policy_t  *policy;

    if (name->len == 0) {
        policy = ngx_palloc(cf->pool, sizeof(ngx_http_resilience_policy_t));
        if (policy) {
            ngx_memzero(policy, sizeof(ngx_http_resilience_policy_t));
            ngx_http_resilience_preset_default(policy);
        }

        return policy;
    }

    policy = ngx_http_resilience_policy_find(rmcf, name);

    if (policy == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "unknown policy \"%V\" in %s:%ui", name, place->file,
                      place->line);
    }

    return policy;
}
