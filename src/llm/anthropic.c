
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "answer.h"
#include "json.h"
#include "usage.h"


/*
 * Anthropic's Messages dialect.
 */


#define anthropic_refused                                                     \
    (res_bit(RES_CONTEXT_LENGTH) | res_bit(RES_CONTENT_POLICY)                \
     | res_bit(RES_QUOTA) | res_bit(RES_AUTH))


/* error.details.error_code, where it says more than the type */

static const llm_error_name_t  anthropic_details[] = {
    { "enforced_spend_limit_reached", RES_QUOTA },
    { "contract_spend_limit_reached", RES_QUOTA },
    { "linked_organization_spend_limit_reached", RES_QUOTA },
    { "linked_organization_billing_unavailable", RES_QUOTA },
    { "ramp_limit_exceeded", RES_RATE_LIMITED },
    { "organization_on_hold", RES_AUTH },
    { "cmek_key_disabled", RES_AUTH },
    { "cmek_key_unreachable", RES_OVERLOADED },
    { "cmek_context_unavailable", RES_OVERLOADED },
    { "compaction_unavailable", RES_OVERLOADED },
    { NULL, RES_SUCCESS }
};


static const llm_error_name_t  anthropic_errors[] = {
    { "overloaded_error", RES_OVERLOADED },
    { "rate_limit_error", RES_RATE_LIMITED },
    { "api_error", RES_SERVER_ERROR },
    { "timeout_error", RES_TIMEOUT },
    { "authentication_error", RES_AUTH },
    { "permission_error", RES_AUTH },
    { "billing_error", RES_QUOTA },
    { "not_found_error", RES_NOT_FOUND },
    { "invalid_request_error", RES_CLIENT_ERROR },
    { "request_too_large", RES_CLIENT_ERROR },
    { "conflict_error", RES_CLIENT_ERROR },
    { NULL, RES_SUCCESS }
};


/* what the error bodies of the gateway itself say */

static const llm_error_type_t  anthropic_types[] = {
    { 401, "authentication_error" },
    { 402, "billing_error" },
    { 403, "permission_error" },
    { 404, "not_found_error" },
    { 408, "timeout_error" },
    { 409, "conflict_error" },
    { 413, "request_too_large" },
    { 429, "rate_limit_error" },
    { 503, "overloaded_error" },
    { 504, "timeout_error" },
    { 529, "overloaded_error" },
    { 0, NULL }
};


static const llm_event_name_t  anthropic_events[] = {
    { "error", LLM_EVENT_ERROR },
    { "message_stop", LLM_EVENT_END },
    { "message_start", LLM_EVENT_NOISE },
    { "content_block_stop", LLM_EVENT_NOISE },
    { "ping", LLM_EVENT_NOISE },
    { NULL, LLM_EVENT_CONTENT }
};


static const char *const  anthropic_usage_names[] = {
    "usage", "message.usage", NULL
};


/*
 * Members that may be there and yet say nothing.  What begins a block, or
 * goes on with it, says something unless all it brings is an empty text.
 */

static const char *const  anthropic_texts[] = {
    "text", "thinking", "partial_json", "stop_reason"
};

#define ANTHROPIC_TEXTS  4


static int
anthropic_detail(llm_str_t error)
{
    llm_str_t  value;

    if (!llm_json_path(error, "details.error_code", &value)) {
        return LLM_ERROR_NONE;
    }

    return llm_error_named(anthropic_details, value);
}


/* the class that the names in an error give */

static int
anthropic_named(llm_str_t error)
{
    int        named;
    llm_str_t  value;

    named = anthropic_detail(error);

    if (named != LLM_ERROR_NONE || !llm_json_member(error, "type", &value)) {
        return named;
    }

    return llm_error_named(anthropic_errors, value);
}


static llm_str_t
anthropic_message(llm_str_t error)
{
    llm_str_t  message = { 0, NULL };

    (void) llm_json_member(error, "message", &message);

    return message;
}


/* an error that came with a good status */

static res_outcome_e
anthropic_inner(llm_str_t error)
{
    int            named;
    res_outcome_e  outcome;

    named = anthropic_named(error);

    if (named == LLM_ERROR_NONE) {
        return RES_SERVER_ERROR;
    }

    outcome = (res_outcome_e) named;

    if (outcome != RES_CLIENT_ERROR) {
        return outcome;
    }

    return llm_error_refine(outcome, named, anthropic_message(error),
                            anthropic_refused);
}


static res_outcome_e
anthropic_success(llm_str_t body)
{
    llm_str_t  v[3];

    static const char *const  members[] = { "type", "error", "stop_reason" };

    (void) llm_json_members(body, members, v, 3);

    if (llm_json_equals(v[0], "error") || llm_answer_says(v[1])) {
        return anthropic_inner(v[1]);
    }

    return llm_json_equals(v[2], "refusal") ? RES_CONTENT_POLICY : RES_SUCCESS;
}


static res_outcome_e
anthropic_bad_request(const llm_answer_t *a, llm_str_t error)
{
    res_outcome_e  outcome;

    outcome = llm_error_refine(RES_CLIENT_ERROR, anthropic_named(error),
                               anthropic_message(error), anthropic_refused);

    return (outcome == RES_AUTH && !a->own_key) ? RES_CLIENT_ERROR : outcome;
}


/*
 * A limit of pace says how long to wait, one of money can't.  That much is
 * known of the dialect's own errors, not of those of something on the way.
 */

static res_outcome_e
anthropic_too_many(const llm_answer_t *a, llm_str_t error)
{
    int  named;

    named = anthropic_detail(error);

    if (named == RES_QUOTA || named == RES_RATE_LIMITED) {
        return (res_outcome_e) named;
    }

    return (a->retry_after || anthropic_named(error) == LLM_ERROR_NONE)
           ? RES_RATE_LIMITED : RES_QUOTA;
}


static res_outcome_e
anthropic_failure(const llm_answer_t *a)
{
    llm_str_t  error = { 0, NULL };

    (void) llm_json_member(llm_error_text(a), "error", &error);

    switch (a->status) {

    case 400:
        return anthropic_bad_request(a, error);

    case 429:
        return anthropic_too_many(a, error);

    default:
        return llm_error_status(a->status, a->own_key);
    }
}


static res_outcome_e
anthropic_classify(const llm_answer_t *a)
{
    int            json;
    res_outcome_e  outcome;

    if (a->status >= 400) {
        return anthropic_failure(a);
    }

    if (a->status >= 300) {
        return RES_INVALID_RESPONSE;
    }

    outcome = llm_answer_success(a, &json);

    return json ? anthropic_success(llm_json_trim(a->body)) : outcome;
}


/* has it one of the members that may be empty, and is that one so? */

static int
anthropic_silent(llm_str_t value)
{
    unsigned   i, n;
    llm_str_t  v[ANTHROPIC_TEXTS];

    n = llm_json_members(value, anthropic_texts, v, ANTHROPIC_TEXTS);

    for (i = 0; i < ANTHROPIC_TEXTS; i++) {

        if (llm_answer_says(v[i])) {
            return 0;
        }
    }

    return n != 0;
}


static llm_event_e
anthropic_event(const llm_event_t *e, res_outcome_e *outcome)
{
    llm_str_t    data, v[4], reason;
    llm_event_e  kind;

    static const char *const  members[] = {
        "type", "error", "content_block", "delta"
    };

    data = llm_json_trim(e->data);

    if (data.len && !e->cut && !llm_json_valid(data)) {
        *outcome = RES_INVALID_RESPONSE;
        return LLM_EVENT_ERROR;
    }

    (void) llm_json_members(data, members, v, 4);

    kind = llm_event_kind(anthropic_events, e, v[0]);

    if (kind == LLM_EVENT_ERROR || llm_answer_says(v[1])) {
        *outcome = anthropic_inner(v[1]);
        return LLM_EVENT_ERROR;
    }

    if (llm_json_member(v[3], "stop_reason", &reason)
        && llm_json_equals(reason, "refusal"))
    {
        *outcome = RES_CONTENT_POLICY;
        return LLM_EVENT_REFUSED;
    }

    if (kind == LLM_EVENT_CONTENT && !e->cut
        && (data.len == 0 || anthropic_silent(v[2]) || anthropic_silent(v[3])))
    {
        return LLM_EVENT_NOISE;
    }

    return kind;
}


/*
 * "input_tokens" leaves out what has to do with the cache.  A stream tells of
 * the input at its start, and of the output, so far, again and again.
 */

static void
anthropic_usage(llm_str_t value, llm_usage_t *u)
{
    int64_t    n, sum;
    unsigned   i;
    llm_str_t  v[4];

    static const char *const  members[] = {
        "input_tokens", "cache_read_input_tokens",
        "cache_creation_input_tokens", "output_tokens"
    };

    (void) llm_json_members(value, members, v, 4);

    sum = llm_usage_number(v[0]);

    for (i = 1; i < 3 && sum >= 0; i++) {
        n = llm_usage_number(v[i]);
        sum += (n > 0) ? n : 0;
    }

    llm_usage_most(&u->input, sum);
    llm_usage_note(&u->output, v[3]);
}


static void
anthropic_put_error(llm_out_t *out, unsigned status, const char *code,
    const char *message)
{
    const char  *type;

    type = llm_error_type(anthropic_types, status);

    if (type == NULL) {
        type = (status < 500) ? "invalid_request_error" : "api_error";
    }

    llm_out_text(out, "{\"type\":\"error\",\"error\":{\"type\":\"");
    llm_out_json(out, type);
    llm_out_text(out, "\",\"message\":\"");
    llm_out_json(out, message);
    llm_out_text(out, "\",\"details\":{\"error_code\":\"");
    llm_out_json(out, code);
    llm_out_text(out, "\"}}}");
}


static size_t
anthropic_error_body(unsigned char *buf, unsigned status, const char *code,
    const char *message)
{
    llm_out_t  out = { buf, 0 };

    anthropic_put_error(&out, status, code, message);

    return out.len;
}


static size_t
anthropic_error_event(unsigned char *buf, const llm_stream_t *stream,
    unsigned status, const char *code, const char *message)
{
    llm_out_t  out = { buf, 0 };

    (void) stream;

    llm_out_text(&out, "event: error\ndata: ");
    anthropic_put_error(&out, status, code, message);
    llm_out_text(&out, "\n\n");

    return out.len;
}


/* blocks of thoughts are signed, and only who signed them takes them back */

static const llm_bound_member_t  anthropic_bound_members[] = {
    { "type", "thinking" },
    { "type", "redacted_thinking" },
    { "file_id", "" },
    { "container", "container_" },
    { NULL, NULL }
};

static const char *const  anthropic_bound_paths[] = {
    "batches", "files", "skills", NULL
};


const llm_dialect_t  llm_dialect_anthropic = {
    .name = llm_string("anthropic"),
    .url = "https://api.anthropic.com",
    .key_header = "x-api-key",
    .key_prefix = "",
    .bound_members = anthropic_bound_members,
    .bound_paths = anthropic_bound_paths,
    .classify = anthropic_classify,
    .advice = llm_answer_advice,
    .event = anthropic_event,
    .usage_names = anthropic_usage_names,
    .usage = anthropic_usage,
    .error_body = anthropic_error_body,
    .error_type = llm_string("application/json"),
    .error_event = anthropic_error_event
};
