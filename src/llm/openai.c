
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "answer.h"
#include "json.h"
#include "openai.h"
#include "usage.h"
#include "wait.h"

#include <string.h>


/*
 * OpenAI's dialect, as its own API and the many that are like it speak it:
 * Chat Completions, Responses and the rest.
 */


typedef struct {
    llm_str_t             code;
    llm_str_t             message;
    int                   named;   /* the class, as far as names tell */
} openai_error_t;


typedef struct {
    unsigned              status;
    uint32_t              classes;
} openai_finer_t;


#define openai_refused                                                        \
    (res_bit(RES_CONTEXT_LENGTH) | res_bit(RES_CONTENT_POLICY)                \
     | res_bit(RES_QUOTA))


/* classes that an error's body may make of its status */

static const openai_finer_t  openai_finer[] = {
    { 400, openai_refused | res_bit(RES_NOT_FOUND) | res_bit(RES_AUTH) },
    { 403, openai_refused },
    { 413, openai_refused | res_bit(RES_RATE_LIMITED) },
    { 422, openai_refused },
    { 429, res_bit(RES_QUOTA) | res_bit(RES_OVERLOADED)
           | res_bit(RES_CLIENT_ERROR) },
    { 0, 0 }
};


static const llm_error_name_t  openai_errors[] = {
    { "insufficient_quota", RES_QUOTA },
    { "credit_balance_exhausted", RES_QUOTA },
    { "organization_spend_limit_exceeded", RES_QUOTA },
    { "project_spend_limit_exceeded", RES_QUOTA },
    { "organization_usage_limit_exceeded", RES_QUOTA },
    { "billing_not_active", RES_QUOTA },
    { "billing_hard_limit_reached", RES_QUOTA },
    { "payment_required", RES_QUOTA },
    { "token_limit_exceeded", RES_QUOTA },
    { "openrouter_credits", RES_QUOTA },
    { "openrouter_key_limit", RES_QUOTA },
    { "openrouter_guardrail_budget", RES_QUOTA },
    { "openrouter_workspace_budget", RES_QUOTA },
    { "openrouter_in_flight_budget", RES_QUOTA },

    { "context_length_exceeded", RES_CONTEXT_LENGTH },
    { "exceed_context_size_error", RES_CONTEXT_LENGTH },

    { "content_filter", RES_CONTENT_POLICY },
    { "content_policy_violation", RES_CONTENT_POLICY },
    { "ResponsibleAIPolicyViolation", RES_CONTENT_POLICY },
    { "bio_policy", RES_CONTENT_POLICY },
    { "misalignment_policy_violation", RES_CONTENT_POLICY },

    { "rate_limit_exceeded", RES_RATE_LIMITED },
    { "rate_limit_error", RES_RATE_LIMITED },
    { "requests", RES_RATE_LIMITED },
    { "tokens", RES_RATE_LIMITED },
    { "capacity_exceeded", RES_RATE_LIMITED },
    { "RESOURCE_EXHAUSTED", RES_RATE_LIMITED },

    { "slow_down", RES_OVERLOADED },
    { "server_is_overloaded", RES_OVERLOADED },
    { "service_unavailable_error", RES_OVERLOADED },
    { "overloaded_error", RES_OVERLOADED },
    { "unavailable_error", RES_OVERLOADED },
    { "provider_overloaded", RES_OVERLOADED },
    { "capacity_exhausted", RES_OVERLOADED },
    { "insufficient_system_resource", RES_OVERLOADED },

    { "server_error", RES_SERVER_ERROR },
    { "api_error", RES_SERVER_ERROR },
    { "provider_unavailable", RES_SERVER_ERROR },
    { "InternalServerError", RES_SERVER_ERROR },

    { "timeout", RES_TIMEOUT },
    { "timeout_error", RES_TIMEOUT },
    { "vector_store_timeout", RES_TIMEOUT },

    { "invalid_api_key", RES_AUTH },
    { "authentication", RES_AUTH },
    { "authentication_error", RES_AUTH },
    { "permission_denied", RES_AUTH },

    { "model_not_found", RES_NOT_FOUND },
    { "model_decommissioned", RES_NOT_FOUND },
    { "DeploymentNotFound", RES_NOT_FOUND },
    { "not_found", RES_NOT_FOUND },
    { "not_found_error", RES_NOT_FOUND },
    { "NotFoundError", RES_NOT_FOUND },

    { "invalid_request_error", RES_CLIENT_ERROR },
    { "invalid_request", RES_CLIENT_ERROR },
    { "invalid_prompt", RES_CLIENT_ERROR },
    { "BadRequestError", RES_CLIENT_ERROR },

    { NULL, RES_SUCCESS }
};


/* what the error bodies of the gateway itself say */

static const llm_error_type_t  openai_types[] = {
    { 401, "authentication_error" },
    { 402, "insufficient_quota" },
    { 403, "permission_error" },
    { 404, "not_found_error" },
    { 408, "timeout_error" },
    { 429, "rate_limit_error" },
    { 500, "server_error" },
    { 502, "upstream_error" },
    { 503, "service_unavailable_error" },
    { 504, "timeout_error" },
    { 529, "service_unavailable_error" },
    { 0, NULL }
};


static const llm_event_name_t  openai_events[] = {
    { "error", LLM_EVENT_ERROR },
    { "response.failed", LLM_EVENT_ERROR },

    { "response.completed", LLM_EVENT_END },
    { "response.incomplete", LLM_EVENT_END },
    { "transcript.text.done", LLM_EVENT_END },
    { "speech.audio.done", LLM_EVENT_END },

    { "response.created", LLM_EVENT_NOISE },
    { "response.in_progress", LLM_EVENT_NOISE },
    { "response.queued", LLM_EVENT_NOISE },

    { NULL, LLM_EVENT_CONTENT }
};


/* Groq tells it in a place of its own, asked or not */

const char *const  llm_openai_usage_names[] = {
    "usage", "response.usage", "x_groq.usage", NULL
};


/* a code that is an HTTP status, as a number or as a string; or 0 */

static unsigned
openai_code(llm_str_t code)
{
    if (code.len == 5 && code.data[0] == '"' && code.data[4] == '"') {
        code.data++;
        code.len = 3;
    }

    return llm_error_number(code);
}


/*
 * An error is an object, a string, or lies flat in the body; its code is a
 * string, a number or null.  Money wins over whatever else is said: such an
 * error must not be waited for.
 */

static void
openai_error(openai_error_t *e, llm_str_t error, llm_str_t body)
{
    int                 named;
    llm_str_t           object, value, v[3];
    const char *const  *path;

    static const char *const  members[] = { "code", "message", "detail" };

    static const char *const  names[] = {
        "code", "metadata.error_type", "metadata.limit_source",
        "innererror.code", "type", NULL
    };

    object = (llm_json_kind(error) == '{') ? error : body;

    (void) llm_json_members(object, members, v, 3);

    e->code = v[0];
    e->message = (llm_json_kind(error) == '"') ? error
                 : v[1].len ? v[1] : v[2];

    e->named = LLM_ERROR_NONE;

    for (path = names; *path; path++) {

        if (!llm_json_path(object, *path, &value)) {
            continue;
        }

        named = llm_error_named(openai_errors, value);

        if (named == RES_QUOTA || e->named == LLM_ERROR_NONE) {
            e->named = named;
        }
    }

    /* Google's errors look the same where it speaks this dialect */

    named = llm_google_error(object);

    if (named == RES_QUOTA || e->named == LLM_ERROR_NONE) {
        e->named = named;
    }

    /* OpenRouter's guardrails name no class, but say what they found */

    if (e->named == LLM_ERROR_NONE
        && (llm_json_path(object, "metadata.reasons", &value)
            || llm_json_path(object, "metadata.patterns", &value)))
    {
        e->named = RES_CONTENT_POLICY;
    }
}


/* an error that came with a good status */

static res_outcome_e
openai_inner(llm_str_t error, llm_str_t body)
{
    unsigned        code;
    res_outcome_e   outcome;
    openai_error_t  e;

    openai_error(&e, error, body);

    code = openai_code(e.code);

    if (e.named != LLM_ERROR_NONE) {
        outcome = (res_outcome_e) e.named;

    } else {
        outcome = code ? llm_error_status(code, 1) : RES_SERVER_ERROR;
    }

    if (outcome != RES_CLIENT_ERROR) {
        return outcome;
    }

    return llm_error_refine(outcome, e.named, e.message, openai_refused);
}


/* an error's body behind an error's status */

static res_outcome_e
openai_refine(const llm_answer_t *a, res_outcome_e outcome)
{
    llm_str_t              body, error;
    openai_error_t         e;
    const openai_finer_t  *f;

    for (f = openai_finer; f->status != a->status; f++) {

        if (f->status == 0) {
            return outcome;
        }
    }

    /* Gemini's likeness puts the object into an array */

    body = llm_error_text(a);
    (void) llm_json_path(body, "0", &body);

    error.len = 0;
    error.data = NULL;
    (void) llm_json_member(body, "error", &error);

    openai_error(&e, error, body);

    return llm_error_refine(outcome, e.named, e.message, f->classes);
}


/* is it an error that has no member "error" to live in? */

static int
openai_flat(llm_str_t object)
{
    return llm_json_equals(object, "error");
}


/* how a choice ended, if that is an error; else RES_SUCCESS */

static res_outcome_e
openai_finish(llm_str_t reason)
{
    if (llm_json_equals(reason, "insufficient_system_resource")) {
        return RES_OVERLOADED;
    }

    return llm_json_equals(reason, "error") ? RES_SERVER_ERROR : RES_SUCCESS;
}


static res_outcome_e
openai_success(llm_str_t body)
{
    llm_str_t  v[3], choice[2], first;

    static const char *const  members[] = { "error", "object", "choices" };
    static const char *const  inner[] = { "error", "finish_reason" };

    (void) llm_json_members(body, members, v, 3);

    if (llm_answer_says(v[0]) || openai_flat(v[1])) {
        return openai_inner(v[0], body);
    }

    if (!llm_json_path(v[2], "0", &first)) {
        return RES_SUCCESS;
    }

    (void) llm_json_members(first, inner, choice, 2);

    if (llm_answer_says(choice[0])) {
        return openai_inner(choice[0], first);
    }

    return openai_finish(choice[1]);
}


res_outcome_e
llm_openai_classify(const llm_answer_t *a)
{
    int            json;
    res_outcome_e  outcome;

    if (a->status >= 300 && a->status < 400) {
        return RES_INVALID_RESPONSE;
    }

    if (a->status < 300) {
        outcome = llm_answer_success(a, &json);
        return json ? openai_success(llm_json_trim(a->body)) : outcome;
    }

    outcome = openai_refine(a, llm_error_status(a->status, a->own_key));

    if (outcome == RES_AUTH && !a->own_key) {
        return RES_CLIENT_ERROR;
    }

    return outcome;
}


/* does a delta bring more than a role? */

static int
openai_delta(llm_str_t delta)
{
    llm_str_t        key, value;
    llm_json_iter_t  it;

    llm_json_iter(&it, delta);

    while (llm_json_next(&it, &key, &value)) {

        if (!llm_json_equals(key, "role") && llm_answer_says(value)) {
            return 1;
        }
    }

    return 0;
}


static llm_event_e
openai_choice(llm_str_t choice, res_outcome_e *outcome)
{
    llm_str_t  v[5];

    static const char *const  members[] = {
        "delta", "finish_reason", "text", "message", "error"
    };

    (void) llm_json_members(choice, members, v, 5);

    if (llm_answer_says(v[4])) {
        *outcome = openai_inner(v[4], choice);
        return LLM_EVENT_FAILED;
    }

    *outcome = openai_finish(v[1]);

    if (*outcome != RES_SUCCESS) {
        return LLM_EVENT_FAILED;
    }

    return (openai_delta(v[0]) || llm_answer_says(v[1])
            || llm_answer_says(v[2]) || llm_answer_says(v[3]))
           ? LLM_EVENT_CONTENT : LLM_EVENT_NOISE;
}


static llm_event_e
openai_choices(llm_str_t choices, res_outcome_e *outcome)
{
    llm_str_t        key, choice;
    llm_event_e      kind, k;
    llm_json_iter_t  it;

    kind = LLM_EVENT_NOISE;

    llm_json_iter(&it, choices);

    while (llm_json_next(&it, &key, &choice)) {

        k = openai_choice(choice, outcome);

        if (k == LLM_EVENT_FAILED) {
            return k;
        }

        if (k == LLM_EVENT_CONTENT) {
            kind = k;
        }
    }

    return kind;
}


/* an event of no name that counts */

static llm_event_e
openai_content(llm_str_t data, llm_str_t choices, res_outcome_e *outcome)
{
    if (llm_json_kind(choices) == '[') {
        return openai_choices(choices, outcome);
    }

    return data.len ? LLM_EVENT_CONTENT : LLM_EVENT_NOISE;
}


/* the error an event speaks of: its own, or that of a response it tells of */

static res_outcome_e
openai_told(llm_str_t error, llm_str_t data)
{
    if (!llm_answer_says(error)) {
        (void) llm_json_path(data, "response.error", &error);
    }

    return openai_inner(error, data);
}


/* the chunk that comes for "include_usage", and for nothing else */

static int
openai_is_usage(llm_str_t choices, llm_str_t usage)
{
    llm_str_t        key, choice;
    llm_json_iter_t  it;

    if (llm_json_kind(choices) != '[' || llm_json_kind(usage) != '{') {
        return 0;
    }

    llm_json_iter(&it, choices);

    return !llm_json_next(&it, &key, &choice);
}


/*
 * The SDKs raise what has a member "error", or stands in an event of that
 * name; other ways of saying it they pass on as if it were content.
 */

llm_event_e
llm_openai_event(const llm_event_t *e, res_outcome_e *outcome)
{
    llm_str_t    data, v[6], error;
    llm_event_e  kind;

    static const llm_str_t  done = llm_string("[DONE]");

    static const char *const  members[] = {
        "error", "choices", "type", "object", "x_groq", "usage"
    };

    data = llm_json_trim(e->data);

    if (data.len == done.len && memcmp(data.data, done.data, done.len) == 0) {
        return LLM_EVENT_END;
    }

    if (data.len && !e->cut && !llm_json_valid(data)) {
        *outcome = RES_INVALID_RESPONSE;
        return LLM_EVENT_ERROR;
    }

    (void) llm_json_members(data, members, v, 6);

    kind = llm_event_kind(openai_events, e, v[2]);

    if (kind == LLM_EVENT_ERROR || llm_answer_says(v[0])) {
        *outcome = openai_told(v[0], data);
        return LLM_EVENT_ERROR;
    }

    if (llm_json_member(v[4], "error", &error) && llm_answer_says(error)) {
        *outcome = openai_inner(error, data);
        return LLM_EVENT_FAILED;
    }

    if (openai_flat(v[3])) {
        *outcome = openai_inner(v[0], data);
        return LLM_EVENT_FAILED;
    }

    if (kind == LLM_EVENT_CONTENT) {
        kind = openai_content(data, v[1], outcome);
    }

    if (kind == LLM_EVENT_NOISE && !e->cut && openai_is_usage(v[1], v[5])) {
        return LLM_EVENT_USAGE;
    }

    return (e->cut && kind == LLM_EVENT_NOISE) ? LLM_EVENT_CONTENT : kind;
}


/* the events of Responses have names, and numbers */

void
llm_openai_follow(llm_stream_t *stream, const llm_event_t *e)
{
    size_t      i;
    uint64_t    n;
    llm_str_t   number;

    static const llm_str_t  prefix = llm_string("response.");

    if (e->name.len <= prefix.len
        || memcmp(e->name.data, prefix.data, prefix.len) != 0)
    {
        return;
    }

    stream->numbered = 1;
    stream->sequence++;

    if (!llm_json_member(e->data, "sequence_number", &number)
        || number.len == 0 || number.len > 15)
    {
        return;
    }

    n = 0;

    for (i = 0; i < number.len; i++) {

        if (number.data[i] < '0' || number.data[i] > '9') {
            return;
        }

        n = n * 10 + (uint64_t) (number.data[i] - '0');
    }

    stream->sequence = n + 1;
}


/* Chat Completions and the rest name them differently */

void
llm_openai_usage(llm_str_t value, llm_usage_t *u)
{
    llm_str_t  v[4];

    static const char *const  members[] = {
        "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"
    };

    (void) llm_json_members(value, members, v, 4);

    llm_usage_note(&u->input, v[0].len ? v[0] : v[2]);
    llm_usage_note(&u->output, v[1].len ? v[1] : v[3]);
}


/* does the last "include_usage" ask, or is it something that we don't know? */

static int
openai_asks(llm_str_t options)
{
    int              asks;
    llm_str_t        key, value;
    llm_json_iter_t  it;

    asks = 0;

    llm_json_iter(&it, options);

    while (llm_json_next(&it, &key, &value)) {

        if (llm_json_equals(key, "include_usage")) {
            asks = (llm_json_kind(value) != 'f' && llm_json_kind(value) != 'n');
        }
    }

    return asks;
}


size_t
llm_openai_ask_usage(unsigned char *buf, llm_str_t path, llm_str_t options)
{
    int              kind;
    llm_out_t        out = { buf, 0 };
    llm_str_t        key, value;
    llm_json_iter_t  it;

    static const llm_str_t  end = llm_string("/completions");

    kind = llm_json_kind(options);

    if (path.len < end.len
        || memcmp(path.data + path.len - end.len, end.data, end.len) != 0
        || (kind != '{' && kind != 'n' && options.len)
        || (kind == '{' && openai_asks(options)))
    {
        return 0;
    }

    llm_out_text(&out, "{\"include_usage\":true");

    llm_json_iter(&it, options);

    while (it.object && llm_json_next(&it, &key, &value)) {

        if (!llm_json_equals(key, "include_usage")) {
            llm_out_text(&out, ",");
            llm_out_bytes(&out, key);
            llm_out_text(&out, ":");
            llm_out_bytes(&out, value);
        }
    }

    llm_out_text(&out, "}");

    return out.len;
}


static void
openai_put_error(llm_out_t *out, unsigned status, const char *code,
    const char *message)
{
    const char  *type;

    type = llm_error_type(openai_types, status);

    if (type == NULL) {
        type = (status < 500) ? "invalid_request_error" : "server_error";
    }

    llm_out_text(out, "\"error\":{\"message\":\"");
    llm_out_json(out, message);
    llm_out_text(out, "\",\"type\":\"");
    llm_out_json(out, type);
    llm_out_text(out, "\",\"param\":null,\"code\":\"");
    llm_out_json(out, code);
    llm_out_text(out, "\"}}");
}


/* what an error of Responses has beside that */

static void
openai_put_flat(llm_out_t *out, const llm_stream_t *stream, const char *code,
    const char *message)
{
    llm_out_text(out, "\"type\":\"error\",\"code\":\"");
    llm_out_json(out, code);
    llm_out_text(out, "\",\"message\":\"");
    llm_out_json(out, message);
    llm_out_text(out, "\",\"param\":null,\"sequence_number\":");
    llm_out_number(out, stream->sequence);
    llm_out_text(out, ",");
}


size_t
llm_openai_error_body(unsigned char *buf, unsigned status, const char *code,
    const char *message)
{
    llm_out_t  out = { buf, 0 };

    llm_out_text(&out, "{");
    openai_put_error(&out, status, code, message);

    return out.len;
}


/*
 * The error of Responses is flat, and the SDKs take it for one more event: it
 * is the member "error" that makes them raise.
 */

size_t
llm_openai_error_event(unsigned char *buf, const llm_stream_t *stream,
    unsigned status, const char *code, const char *message)
{
    llm_out_t  out = { buf, 0 };

    if (stream && stream->numbered) {
        llm_out_text(&out, "event: error\ndata: {");
        openai_put_flat(&out, stream, code, message);

    } else {
        llm_out_text(&out, "data: {");
    }

    openai_put_error(&out, status, code, message);
    llm_out_text(&out, "\n\n");

    return out.len;
}


/* of Responses, files and what runs in containers: all is the account's own */

const llm_bound_member_t  llm_openai_bound_members[] = {
    { "previous_response_id", "" },
    { "conversation", "" },
    { "id", "conv_" },
    { "encrypted_content", "" },
    { "type", "item_reference" },
    { "file_id", "" },
    { "container", "cntr_" },
    { NULL, NULL }
};

const char *const  llm_openai_bound_paths[] = {
    "responses/", "conversations", "files", "uploads", "batches",
    "fine_tuning", "vector_stores", "containers", "assistants", "threads",
    "evals", "chatkit", NULL
};


const llm_dialect_t  llm_dialect_openai = {
    .name = llm_string("openai"),
    .url = "https://api.openai.com",
    .key_header = "authorization",
    .key_prefix = "Bearer ",
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
