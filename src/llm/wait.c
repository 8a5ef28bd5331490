
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "wait.h"
#include "json.h"
#include "../engine/hint.h"

#include <string.h>


static uint64_t wait_value(llm_str_t value);
static int wait_is_retry_info(llm_str_t type);


uint64_t
llm_wait_error(const llm_answer_t *a)
{
    uint64_t            ms;
    llm_str_t           body, error, value;
    const char *const  *path;

    static const char *const  paths[] = {
        "availability.retry_after", "metadata.retry_after", NULL
    };

    body = a->body;

    if (body.len > LLM_WAIT_BODY) {
        body.len = LLM_WAIT_BODY;
    }

    body = llm_json_trim(body);
    (void) llm_json_path(body, "0", &body);

    if (!llm_json_member(body, "error", &error)) {
        return 0;
    }

    if (llm_json_member(error, "details", &value)) {

        ms = llm_wait_retry_info(value);

        if (ms != 0) {
            return ms;
        }
    }

    for (path = paths; *path; path++) {

        /* a number that nothing follows may be cut */

        if (llm_json_path(error, *path, &value)
            && value.data + value.len < body.data + body.len)
        {
            ms = wait_value(value);

            if (ms != 0) {
                return ms;
            }
        }
    }

    return 0;
}


uint64_t
llm_wait_retry_info(llm_str_t details)
{
    llm_str_t        key, detail, v[2];
    llm_json_iter_t  it;

    static const char *const  members[] = { "@type", "retryDelay" };

    if (llm_json_kind(details) != '[') {
        return 0;
    }

    llm_json_iter(&it, details);

    while (llm_json_next(&it, &key, &detail)) {

        if (llm_json_members(detail, members, v, 2) == 2
            && wait_is_retry_info(v[0]))
        {
            return wait_value(v[1]);
        }
    }

    return 0;
}


/* seconds, as a number, or a duration in a string */

static uint64_t
wait_value(llm_str_t value)
{
    size_t         len;
    int64_t        ms;
    unsigned char  text[32];

    if (llm_json_kind(value) == '"') {

        len = llm_json_decode(value, text, sizeof(text));

        if (len == (size_t) -1) {
            return 0;
        }

        ms = res_hint_duration(text, len);

    } else {
        ms = res_hint_duration(value.data, value.len);
    }

    return (ms > 0) ? (uint64_t) ms : 0;
}


/* "type.googleapis.com/google.rpc.RetryInfo" */

static int
wait_is_retry_info(llm_str_t type)
{
    size_t         len;
    unsigned char  text[64];

    static const llm_str_t  name = llm_string("google.rpc.RetryInfo");

    len = llm_json_decode(type, text, sizeof(text));

    return len != (size_t) -1
           && len >= name.len
           && memcmp(text + len - name.len, name.data, name.len) == 0;
}
