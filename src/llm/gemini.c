
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "answer.h"
#include "json.h"
#include "usage.h"
#include "wait.h"
#include "../engine/hint.h"

#include <string.h>


/*
 * Gemini's own dialect: generateContent, streamGenerateContent and the rest.
 * A stream has no mark of its end but the reason why a candidate finished; a
 * refused prompt is a 200 without candidates.
 */


/* a limit that is over later than this, ms, is none of pace */
#define GEMINI_PACE  120000

#define GEMINI_TEXT  1024


#define gemini_refused                                                        \
    (res_bit(RES_CONTEXT_LENGTH) | res_bit(RES_CONTENT_POLICY)                \
     | res_bit(RES_QUOTA) | res_bit(RES_AUTH) | res_bit(RES_NOT_FOUND))


/* google.rpc.ErrorInfo.reason, where it says more than the status */

static const llm_error_name_t  google_reasons[] = {
    { "API_KEY_INVALID", RES_AUTH },
    { "API_KEY_EXPIRED", RES_AUTH },
    { "API_KEY_SERVICE_BLOCKED", RES_AUTH },
    { "API_KEY_HTTP_REFERRER_BLOCKED", RES_AUTH },
    { "API_KEY_IP_ADDRESS_BLOCKED", RES_AUTH },
    { "ACCESS_TOKEN_EXPIRED", RES_AUTH },
    { "CONSUMER_SUSPENDED", RES_AUTH },
    { "CONSUMER_INVALID", RES_AUTH },
    { "SERVICE_DISABLED", RES_AUTH },
    { "BILLING_DISABLED", RES_QUOTA },
    { NULL, RES_SUCCESS }
};


/* google.rpc.Code; a failed precondition is one of billing, or of a region */

static const llm_error_name_t  google_statuses[] = {
    { "RESOURCE_EXHAUSTED", RES_RATE_LIMITED },
    { "INVALID_ARGUMENT", RES_CLIENT_ERROR },
    { "OUT_OF_RANGE", RES_CLIENT_ERROR },
    { "FAILED_PRECONDITION", RES_QUOTA },
    { "UNAUTHENTICATED", RES_AUTH },
    { "PERMISSION_DENIED", RES_AUTH },
    { "NOT_FOUND", RES_NOT_FOUND },
    { "CANCELLED", RES_CANCELLED },
    { "INTERNAL", RES_SERVER_ERROR },
    { "UNKNOWN", RES_SERVER_ERROR },
    { "UNAVAILABLE", RES_OVERLOADED },
    { "DEADLINE_EXCEEDED", RES_TIMEOUT },
    { NULL, RES_SUCCESS }
};


/* what the error bodies of the gateway itself say */

static const llm_error_type_t  gemini_types[] = {
    { 400, "INVALID_ARGUMENT" },
    { 401, "UNAUTHENTICATED" },
    { 403, "PERMISSION_DENIED" },
    { 404, "NOT_FOUND" },
    { 408, "DEADLINE_EXCEEDED" },
    { 409, "ABORTED" },
    { 429, "RESOURCE_EXHAUSTED" },
    { 499, "CANCELLED" },
    { 500, "INTERNAL" },
    { 501, "UNIMPLEMENTED" },
    { 502, "UNAVAILABLE" },
    { 503, "UNAVAILABLE" },
    { 504, "DEADLINE_EXCEEDED" },
    { 529, "UNAVAILABLE" },
    { 0, NULL }
};


/* a candidate that is not what was asked for, by a fault of the model */

static const llm_error_name_t  gemini_malformed[] = {
    { "MALFORMED_FUNCTION_CALL", RES_INVALID_RESPONSE },
    { "MALFORMED_RESPONSE", RES_INVALID_RESPONSE },
    { NULL, RES_SUCCESS }
};


/* the events of Interactions, which have an event_type */

static const llm_event_name_t  gemini_events[] = {
    { "error", LLM_EVENT_ERROR },
    { "interaction.complete", LLM_EVENT_END },
    { "interaction.completed", LLM_EVENT_END },
    { "interaction.start", LLM_EVENT_NOISE },
    { "interaction.created", LLM_EVENT_NOISE },
    { "interaction.status_update", LLM_EVENT_NOISE },
    { "content.start", LLM_EVENT_NOISE },
    { NULL, LLM_EVENT_CONTENT }
};


/* is the text somewhere in that string, followed by anything but a digit? */

static int
google_has(llm_str_t string, const char *text)
{
    char    buf[GEMINI_TEXT + 1], *p;
    size_t  len;

    len = llm_json_prefix(string, (unsigned char *) buf, GEMINI_TEXT);
    buf[len] = '\0';

    for (p = strstr(buf, text); p; p = strstr(p + 1, text)) {

        if (p[strlen(text)] < '0' || p[strlen(text)] > '9') {
            return 1;
        }
    }

    return 0;
}


/* is the limit of a QuotaFailure one of a day? */

static int
google_daily(llm_str_t detail)
{
    llm_str_t        violations, key, value, id;
    llm_json_iter_t  it;

    if (!llm_json_member(detail, "violations", &violations)) {
        return 0;
    }

    llm_json_iter(&it, violations);

    while (llm_json_next(&it, &key, &value)) {

        if (llm_json_member(value, "quotaId", &id)
            && google_has(id, "PerDay"))
        {
            return 1;
        }
    }

    return 0;
}


/* does a RetryInfo name a time that no call can wait for? */

static int
google_late(llm_str_t detail)
{
    size_t         len;
    llm_str_t      delay;
    unsigned char  text[64];

    if (!llm_json_member(detail, "retryDelay", &delay)) {
        return 0;
    }

    len = llm_json_decode(delay, text, sizeof(text));

    return len != (size_t) -1
           && res_hint_duration(text, len) > GEMINI_PACE;
}


static int
google_details(llm_str_t details, int named)
{
    int              reason;
    llm_str_t        key, detail, value;
    llm_json_iter_t  it;

    llm_json_iter(&it, details);

    while (llm_json_next(&it, &key, &detail)) {

        if (llm_json_member(detail, "reason", &value)) {

            reason = llm_error_named(google_reasons, value);

            if (reason != LLM_ERROR_NONE) {
                return reason;
            }
        }

        if (named == RES_RATE_LIMITED
            && (google_daily(detail) || google_late(detail)))
        {
            named = RES_QUOTA;
        }
    }

    return named;
}


int
llm_google_error(llm_str_t error)
{
    int        named;
    llm_str_t  v[3];

    static const char *const  members[] = { "status", "message", "details" };

    (void) llm_json_members(error, members, v, 3);

    if (llm_json_kind(v[0]) != '"') {
        return LLM_ERROR_NONE;
    }

    named = llm_error_named(google_statuses, v[0]);

    if (named == RES_RATE_LIMITED && google_has(v[1], "limit: 0")) {
        named = RES_QUOTA;
    }

    return google_details(v[2], named);
}


/* the error of a body; it may be in an array of one */

static llm_str_t
gemini_error(llm_str_t body)
{
    llm_str_t  error = { 0, NULL };

    (void) llm_json_path(body, "0", &body);
    (void) llm_json_member(body, "error", &error);

    return error;
}


static llm_str_t
gemini_message(llm_str_t error)
{
    llm_str_t  message = { 0, NULL };

    (void) llm_json_member(error, "message", &message);

    return message;
}


/* an error that came with a good status */

static res_outcome_e
gemini_inner(llm_str_t error)
{
    int            named;
    unsigned       status;
    llm_str_t      code;
    res_outcome_e  outcome;

    named = llm_google_error(error);
    status = llm_json_member(error, "code", &code) ? llm_error_number(code) : 0;

    if (named != LLM_ERROR_NONE) {
        outcome = (res_outcome_e) named;

    } else {
        outcome = status ? llm_error_status(status, 1) : RES_SERVER_ERROR;
    }

    if (outcome != RES_CLIENT_ERROR) {
        return outcome;
    }

    return llm_error_refine(outcome, named, gemini_message(error),
                            gemini_refused);
}


static res_outcome_e
gemini_failure(const llm_answer_t *a)
{
    int            named;
    llm_str_t      error;
    res_outcome_e  outcome;

    error = gemini_error(llm_error_text(a));
    outcome = llm_error_status(a->status, a->own_key);

    switch (a->status) {

    case 400:
        named = llm_google_error(error);
        outcome = llm_error_refine(outcome, named, gemini_message(error),
                                   gemini_refused);
        break;

    case 403:
    case 429:
        if (llm_google_error(error) == RES_QUOTA) {
            outcome = RES_QUOTA;
        }

        break;

    default:
        break;
    }

    return (outcome == RES_AUTH && !a->own_key) ? RES_CLIENT_ERROR : outcome;
}


/* does a part say anything? */

static int
gemini_part(llm_str_t part)
{
    llm_str_t        key, value;
    llm_json_iter_t  it;

    llm_json_iter(&it, part);

    while (llm_json_next(&it, &key, &value)) {

        if (!llm_json_equals(key, "thought") && llm_answer_says(value)) {
            return 1;
        }
    }

    return 0;
}


static int
gemini_says(llm_str_t candidate)
{
    llm_str_t        parts, key, part;
    llm_json_iter_t  it;

    if (!llm_json_path(candidate, "content.parts", &parts)) {
        return 0;
    }

    llm_json_iter(&it, parts);

    while (llm_json_next(&it, &key, &part)) {

        if (gemini_part(part)) {
            return 1;
        }
    }

    return 0;
}


static llm_event_e
gemini_candidate(llm_str_t candidate, res_outcome_e *outcome)
{
    int        named;
    llm_str_t  reason;

    if (!llm_json_member(candidate, "finishReason", &reason)
        || !llm_answer_says(reason)
        || llm_json_equals(reason, "FINISH_REASON_UNSPECIFIED"))
    {
        return gemini_says(candidate) ? LLM_EVENT_CONTENT : LLM_EVENT_NOISE;
    }

    named = llm_error_named(gemini_malformed, reason);

    if (named == LLM_ERROR_NONE) {
        return LLM_EVENT_LAST;
    }

    *outcome = (res_outcome_e) named;

    return LLM_EVENT_FAILED;
}


static llm_event_e
gemini_candidates(llm_str_t candidates, res_outcome_e *outcome)
{
    llm_str_t        key, candidate;
    llm_event_e      kind, k;
    llm_json_iter_t  it;

    kind = LLM_EVENT_NOISE;

    llm_json_iter(&it, candidates);

    while (llm_json_next(&it, &key, &candidate)) {

        k = gemini_candidate(candidate, outcome);

        if (k == LLM_EVENT_FAILED) {
            return k;
        }

        if (kind != LLM_EVENT_LAST && k != LLM_EVENT_NOISE) {
            kind = k;
        }
    }

    return kind;
}


/* an answer, or a piece of one */

static llm_event_e
gemini_response(llm_str_t response, res_outcome_e *outcome)
{
    llm_str_t  v[3], reason;

    static const char *const  members[] = {
        "error", "candidates", "promptFeedback"
    };

    (void) llm_json_members(response, members, v, 3);

    if (llm_answer_says(v[0])) {
        *outcome = gemini_inner(v[0]);
        return LLM_EVENT_ERROR;
    }

    if (llm_answer_says(v[1])) {
        return gemini_candidates(v[1], outcome);
    }

    if (llm_json_member(v[2], "blockReason", &reason)
        && llm_answer_says(reason))
    {
        *outcome = RES_CONTENT_POLICY;
        return LLM_EVENT_DENIED;
    }

    return LLM_EVENT_NOISE;
}


static res_outcome_e
gemini_success(llm_str_t body)
{
    llm_str_t        key, piece;
    res_outcome_e    outcome;
    llm_json_iter_t  it;

    outcome = RES_SUCCESS;

    if (llm_json_kind(body) != '[') {
        (void) gemini_response(body, &outcome);
        return outcome;
    }

    /* a stream that was asked for without alt=sse */

    llm_json_iter(&it, body);

    while (outcome == RES_SUCCESS && llm_json_next(&it, &key, &piece)) {
        (void) gemini_response(piece, &outcome);
    }

    return outcome;
}


static res_outcome_e
gemini_classify(const llm_answer_t *a)
{
    int            json;
    res_outcome_e  outcome;

    if (a->status >= 400) {
        return gemini_failure(a);
    }

    if (a->status >= 300) {
        return RES_INVALID_RESPONSE;
    }

    outcome = llm_answer_success(a, &json);

    return json ? gemini_success(llm_json_trim(a->body)) : outcome;
}


static llm_event_e
gemini_event(const llm_event_t *e, res_outcome_e *outcome)
{
    llm_str_t    data, type;
    llm_event_e  kind;

    static const llm_str_t  done = llm_string("[DONE]");

    data = llm_json_trim(e->data);

    if (data.len == done.len && memcmp(data.data, done.data, done.len) == 0) {
        return LLM_EVENT_END;
    }

    if (data.len && !e->cut && !llm_json_valid(data)) {
        *outcome = RES_INVALID_RESPONSE;
        return LLM_EVENT_ERROR;
    }

    kind = gemini_response(data, outcome);

    if (kind == LLM_EVENT_NOISE && llm_json_member(data, "event_type", &type)) {

        kind = llm_event_kind(gemini_events, e, type);

        if (kind == LLM_EVENT_ERROR) {
            *outcome = RES_SERVER_ERROR;
        }
    }

    return (e->cut && kind == LLM_EVENT_NOISE) ? LLM_EVENT_CONTENT : kind;
}


static int
gemini_model(llm_str_t path, llm_str_t *name)
{
    return llm_path_segment(path, "/models/", ":/", name);
}


static void
gemini_put_error(llm_out_t *out, unsigned status, const char *code,
    const char *message)
{
    const char  *type;

    type = llm_error_type(gemini_types, status);

    if (type == NULL) {
        type = (status < 500) ? "FAILED_PRECONDITION" : "INTERNAL";
    }

    llm_out_text(out, "{\"error\":{\"code\":");
    llm_out_number(out, status);
    llm_out_text(out, ",\"message\":\"");
    llm_out_json(out, message);
    llm_out_text(out, "\",\"status\":\"");
    llm_out_json(out, type);
    llm_out_text(out, "\",\"details\":[{\"@type\":\"type.googleapis.com/"
                      "google.rpc.ErrorInfo\",\"reason\":\"");
    llm_out_json(out, code);
    llm_out_text(out, "\",\"domain\":\"ngx_http_resilience_module\"}]}}");
}


static size_t
gemini_error_body(unsigned char *buf, unsigned status, const char *code,
    const char *message)
{
    llm_out_t  out = { buf, 0 };

    gemini_put_error(&out, status, code, message);

    return out.len;
}


static size_t
gemini_error_event(unsigned char *buf, const llm_stream_t *stream,
    unsigned status, const char *code, const char *message)
{
    llm_out_t  out = { buf, 0 };

    (void) stream;

    llm_out_text(&out, "data: ");
    gemini_put_error(&out, status, code, message);
    llm_out_text(&out, "\r\n\r\n");

    return out.len;
}


/* signatures of thoughts, what was cached, and files that were sent before */

static const llm_bound_member_t  gemini_bound_members[] = {
    { "thoughtSignature", "" },
    { "thought_signature", "" },
    { "cachedContent", "" },
    { "cached_content", "" },
    { "previous_interaction_id", "" },
    { "fileUri", "https://generativelanguage" },
    { "file_uri", "https://generativelanguage" },
    { NULL, NULL }
};

static const char *const  gemini_bound_paths[] = {
    "files", "cachedContents", "batches", "operations", "tunedModels",
    "fileSearchStores", "interactions/", NULL
};


static const char *const  gemini_usage_names[] = { "usageMetadata", NULL };


/* thoughts are output, too; what a tool answered was put in */

static void
gemini_usage(llm_str_t value, llm_usage_t *u)
{
    int64_t    prompt, tools, output, thoughts;
    llm_str_t  v[4];

    static const char *const  members[] = {
        "promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount",
        "thoughtsTokenCount"
    };

    (void) llm_json_members(value, members, v, 4);

    prompt = llm_usage_number(v[0]);
    tools = llm_usage_number(v[1]);
    output = llm_usage_number(v[2]);
    thoughts = llm_usage_number(v[3]);

    if (prompt >= 0) {
        llm_usage_most(&u->input, prompt + (tools > 0 ? tools : 0));
    }

    if (output >= 0 || thoughts >= 0) {
        llm_usage_most(&u->output, (output > 0 ? output : 0)
                                   + (thoughts > 0 ? thoughts : 0));
    }
}


const llm_dialect_t  llm_dialect_gemini = {
    .name = llm_string("gemini"),
    .url = "https://generativelanguage.googleapis.com",
    .key_header = "x-goog-api-key",
    .key_prefix = "",
    .key_arg = "key",
    .model = gemini_model,
    .bound_members = gemini_bound_members,
    .bound_paths = gemini_bound_paths,
    .classify = gemini_classify,
    .advice = llm_answer_advice,
    .wait = llm_wait_error,
    .event = gemini_event,
    .usage_names = gemini_usage_names,
    .usage = gemini_usage,
    .error_body = gemini_error_body,
    .error_type = llm_string("application/json"),
    .error_event = gemini_error_event
};
