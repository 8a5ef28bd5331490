
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "answer.h"
#include "openai.h"
#include "wait.h"


/*
 * Azure OpenAI: OpenAI's dialect with another credential, and with a
 * deployment's name in the path, unless it is one of the v1 API.  What it adds
 * (results of filters, chunks without choices or delta) OpenAI's reader takes.
 * Each resource has an address of its own.
 */


static int
azure_model(llm_str_t path, llm_str_t *name)
{
    return llm_path_segment(path, "/deployments/", "/", name);
}


const llm_dialect_t  llm_dialect_azure = {
    .name = llm_string("azure"),
    .key_header = "api-key",
    .key_prefix = "",
    .model = azure_model,
    .bound_members = llm_openai_bound_members,
    .bound_paths = llm_openai_bound_paths,
    .classify = llm_openai_classify,
    .advice = llm_answer_advice,
    .wait = llm_wait_error,
    .event = llm_openai_event,
    .follow = llm_openai_follow,
    .usage_names = llm_openai_usage_names,
    .usage = llm_openai_usage,
    .ask_usage = llm_openai_ask_usage,
    .error_body = llm_openai_error_body,
    .error_type = llm_string("application/json"),
    .error_event = llm_openai_error_event
};
