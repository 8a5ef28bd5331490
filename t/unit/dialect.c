
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "llm/dialect.h"
#include "llm/json.h"
#include "tap.h"

#include <stdlib.h>


#define OPENAI     &llm_dialect_openai
#define ANTHROPIC  &llm_dialect_anthropic
#define NONE       &llm_dialect_none

#define JSON       "application/json"

/* flags of an answer */

#define PART       1             /* not whole */
#define THEIRS     2             /* the client's credential, not our key */
#define WAIT       4             /* it says how long to wait */


static llm_str_t
str(const char *text)
{
    llm_str_t  s;

    s.len = text ? strlen(text) : 0;
    s.data = (const unsigned char *) text;

    return s;
}


/* a copy that ends where its memory ends */

static llm_str_t
copy(const char *text)
{
    llm_str_t       s;
    unsigned char  *p;

    s = str(text);
    p = malloc(s.len ? s.len : 1);

    if (p == NULL) {
        abort();
    }

    if (s.len) {
        memcpy(p, s.data, s.len);
    }

    s.data = p;

    return s;
}


typedef struct {
    const llm_dialect_t  *dialect;
    unsigned              status;
    const char           *type;
    const char           *body;
    unsigned              flags;
    res_outcome_e         want;
} answer_row_t;


#define ERROR(code, type, message)                                            \
    "{\"error\":{\"message\":\"" message "\",\"type\":" type                  \
    ",\"param\":null,\"code\":" code "}}"

#define X64                                                                   \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

#define X448       X64 X64 X64 X64 X64 X64 X64

#define CLAUDE(type, message, more)                                           \
    "{\"type\":\"error\",\"error\":{\"type\":\"" type "\",\"message\":\""     \
    message "\"" more "},\"request_id\":\"req_1\"}"

#define DETAIL(code)  ",\"details\":{\"error_code\":\"" code "\"}"


static const answer_row_t  answers[] = {

    /* by the status alone */

    { NONE, 200, NULL, NULL, 0, RES_SUCCESS },
    { NONE, 200, JSON, "oops", 0, RES_SUCCESS },
    { NONE, 302, NULL, NULL, 0, RES_SUCCESS },
    { NONE, 401, NULL, NULL, 0, RES_AUTH },
    { NONE, 401, NULL, NULL, THEIRS, RES_CLIENT_ERROR },
    { NONE, 429, JSON, ERROR("\"insufficient_quota\"", "null", "x"), 0,
      RES_RATE_LIMITED },
    { NONE, 503, NULL, NULL, 0, RES_OVERLOADED },

    { OPENAI, 300, NULL, NULL, 0, RES_INVALID_RESPONSE },
    { OPENAI, 301, NULL, NULL, 0, RES_INVALID_RESPONSE },
    { OPENAI, 302, "text/html", "<a>", 0, RES_INVALID_RESPONSE },
    { OPENAI, 400, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 401, NULL, NULL, 0, RES_AUTH },
    { OPENAI, 401, NULL, NULL, THEIRS, RES_CLIENT_ERROR },
    { OPENAI, 402, NULL, NULL, 0, RES_QUOTA },
    { OPENAI, 402, NULL, NULL, WAIT, RES_QUOTA },
    { OPENAI, 402, NULL, NULL, THEIRS, RES_QUOTA },
    { OPENAI, 403, NULL, NULL, 0, RES_AUTH },
    { OPENAI, 403, NULL, NULL, THEIRS, RES_CLIENT_ERROR },
    { OPENAI, 404, NULL, NULL, 0, RES_NOT_FOUND },
    { OPENAI, 405, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 406, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 408, NULL, NULL, 0, RES_TIMEOUT },
    { OPENAI, 409, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 410, NULL, NULL, 0, RES_NOT_FOUND },
    { OPENAI, 411, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 412, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 413, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 414, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 415, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 422, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 424, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 425, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 429, NULL, NULL, 0, RES_RATE_LIMITED },
    { OPENAI, 429, NULL, NULL, WAIT, RES_RATE_LIMITED },
    { OPENAI, 431, NULL, NULL, 0, RES_CLIENT_ERROR },
    { OPENAI, 498, NULL, NULL, 0, RES_RATE_LIMITED },
    { OPENAI, 499, NULL, NULL, 0, RES_CANCELLED },
    { OPENAI, 500, NULL, NULL, 0, RES_SERVER_ERROR },
    { OPENAI, 501, NULL, NULL, 0, RES_SERVER_ERROR },
    { OPENAI, 502, NULL, NULL, 0, RES_SERVER_ERROR },
    { OPENAI, 503, NULL, NULL, 0, RES_OVERLOADED },
    { OPENAI, 504, NULL, NULL, 0, RES_TIMEOUT },
    { OPENAI, 505, NULL, NULL, 0, RES_SERVER_ERROR },
    { OPENAI, 520, NULL, NULL, 0, RES_SERVER_ERROR },
    { OPENAI, 523, NULL, NULL, 0, RES_SERVER_ERROR },
    { OPENAI, 524, NULL, NULL, 0, RES_TIMEOUT },
    { OPENAI, 529, NULL, NULL, 0, RES_OVERLOADED },
    { OPENAI, 530, NULL, NULL, 0, RES_SERVER_ERROR },

    { ANTHROPIC, 300, NULL, NULL, 0, RES_INVALID_RESPONSE },
    { ANTHROPIC, 307, NULL, NULL, 0, RES_INVALID_RESPONSE },
    { ANTHROPIC, 400, NULL, NULL, 0, RES_CLIENT_ERROR },
    { ANTHROPIC, 401, NULL, NULL, 0, RES_AUTH },
    { ANTHROPIC, 401, NULL, NULL, THEIRS, RES_CLIENT_ERROR },
    { ANTHROPIC, 402, NULL, NULL, 0, RES_QUOTA },
    { ANTHROPIC, 403, NULL, NULL, 0, RES_AUTH },
    { ANTHROPIC, 404, NULL, NULL, 0, RES_NOT_FOUND },
    { ANTHROPIC, 408, NULL, NULL, 0, RES_TIMEOUT },
    { ANTHROPIC, 409, NULL, NULL, 0, RES_CLIENT_ERROR },
    { ANTHROPIC, 413, NULL, NULL, 0, RES_CLIENT_ERROR },
    { ANTHROPIC, 422, NULL, NULL, 0, RES_CLIENT_ERROR },
    { ANTHROPIC, 429, NULL, NULL, WAIT, RES_RATE_LIMITED },
    { ANTHROPIC, 429, NULL, NULL, 0, RES_RATE_LIMITED },
    { ANTHROPIC, 500, NULL, NULL, 0, RES_SERVER_ERROR },
    { ANTHROPIC, 502, NULL, NULL, 0, RES_SERVER_ERROR },
    { ANTHROPIC, 503, NULL, NULL, 0, RES_OVERLOADED },
    { ANTHROPIC, 504, NULL, NULL, 0, RES_TIMEOUT },
    { ANTHROPIC, 529, NULL, NULL, 0, RES_OVERLOADED },

    /* OpenAI: money and pace */

    { OPENAI, 429, JSON, ERROR("\"rate_limit_exceeded\"", "\"requests\"",
      "Rate limit reached for requests"), WAIT, RES_RATE_LIMITED },
    { OPENAI, 429, JSON, ERROR("\"rate_limit_exceeded\"", "\"tokens\"",
      "Rate limit reached for tokens"), 0, RES_RATE_LIMITED },
    { OPENAI, 429, JSON, ERROR("\"insufficient_quota\"",
      "\"insufficient_quota\"", "You exceeded your current quota"), 0,
      RES_QUOTA },
    { OPENAI, 429, JSON, ERROR("null", "\"insufficient_quota\"", "x"), WAIT,
      RES_QUOTA },
    { OPENAI, 429, JSON, ERROR("\"rate_limit_exceeded\"",
      "\"insufficient_quota\"", "x"), 0, RES_QUOTA },
    { OPENAI, 429, JSON, ERROR("\"credit_balance_exhausted\"",
      "\"insufficient_quota\"", "x"), 0, RES_QUOTA },
    { OPENAI, 429, JSON, ERROR("\"organization_spend_limit_exceeded\"",
      "null", "x"), 0, RES_QUOTA },
    { OPENAI, 429, JSON, ERROR("\"project_spend_limit_exceeded\"", "null",
      "x"), 0, RES_QUOTA },
    { OPENAI, 429, JSON, ERROR("\"organization_usage_limit_exceeded\"",
      "null", "x"), 0, RES_QUOTA },
    { OPENAI, 429, JSON, ERROR("\"billing_not_active\"", "null", "x"), 0,
      RES_QUOTA },
    { OPENAI, 429, JSON, ERROR("\"billing_hard_limit_reached\"", "null", "x"),
      0, RES_QUOTA },
    { OPENAI, 429, JSON, ERROR("null", "null",
      "You exceeded your current quota, please check your plan"), 0,
      RES_QUOTA },
    { OPENAI, 429, JSON, "[{\"error\":{\"code\":429,\"message\":"
      "\"You exceeded your current quota, please check\","
      "\"status\":\"RESOURCE_EXHAUSTED\"}}]", 0, RES_RATE_LIMITED },
    { OPENAI, 429, JSON, ERROR("\"slow_down\"", "\"rate_limit_error\"", "x"),
      WAIT, RES_OVERLOADED },
    { OPENAI, 429, JSON, ERROR("\"429\"", "null",
      "System is experiencing High Demand"), 0, RES_OVERLOADED },
    { OPENAI, 429, JSON, "{\"object\":\"error\",\"message\":\"Service tier "
      "capacity exceeded for this model.\",\"type\":\"x\",\"code\":\"3505\"}",
      0, RES_OVERLOADED },
    { OPENAI, 429, JSON, ERROR("\"429\"", "null",
      "prompt is too long, or so the user says"), 0, RES_RATE_LIMITED },
    { OPENAI, 429, JSON, "{\"error\":\"busy\"}", 0, RES_RATE_LIMITED },
    { OPENAI, 429, "text/html", "<html>insufficient_quota</html>", 0,
      RES_RATE_LIMITED },

    /* OpenAI: what was asked */

    { OPENAI, 400, JSON, ERROR("\"context_length_exceeded\"",
      "\"invalid_request_error\"", "x"), 0, RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, ERROR("\"context_length_exceeded\"",
      "\"invalid_request_error\"", "x"), THEIRS, RES_CONTEXT_LENGTH },
    { OPENAI, 413, JSON, ERROR("\"context_length_exceeded\"", "null", "x"), 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 422, JSON, ERROR("\"context_length_exceeded\"", "null", "x"), 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 500, JSON, ERROR("\"context_length_exceeded\"", "null", "x"), 0,
      RES_SERVER_ERROR },
    { OPENAI, 400, JSON, ERROR("null", "\"invalid_request_error\"",
      "This model's maximum context length is 8192 tokens."), 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, ERROR("400", "\"BadRequestError\"",
      "This model's MAXIMUM CONTEXT LENGTH is 8192 tokens."), 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, ERROR("400", "\"exceed_context_size_error\"", "x"), 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, ERROR("400", "\"invalid_request_error\"",
      "the request exceeds the available context size, try increasing it"), 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, "{\"message\":\"too many tokens: 5000\"}", 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, "{\"detail\":\"prompt is too long\"}", 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, "{\"error\":\"prompt is too long\"}", 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, "{\"error\":{\"message\":\"prompt is too l\\u006fng",
      PART, RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, ERROR("null", "null",
      "input length and `max_tokens` exceed context limit: 1 + 2 > 3"), 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, ERROR("null", "null",
      "The prompt is longer than the model's context length"), 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, ERROR("null", "null",
      "The input token count (9) exceeds the maximum number of tokens "
      "allowed (8)."), 0, RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, ERROR("null", "null",
      X448 "prompt is too long" X448 X64), 0, RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, ERROR("null", "null",
      X448 X64 "prompt is too long"), 0, RES_CLIENT_ERROR },
    { OPENAI, 403, JSON, ERROR("null", "null",
      "`inputs` tokens + `max_new_tokens` must be <= 4097"), 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 400, JSON, ERROR("\"string_above_max_length\"",
      "\"invalid_request_error\"", "Invalid 'messages[0].content': string too "
      "long. Expected a string with maximum length 1048576"), 0,
      RES_CLIENT_ERROR },
    { OPENAI, 422, JSON, "{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"x\","
      "\"input\":\"prompt is too long\"}]}", 0, RES_CLIENT_ERROR },
    { OPENAI, 400, "text/plain", "prompt is too long", 0, RES_CLIENT_ERROR },
    { OPENAI, 400, JSON, ERROR("\"invalid_prompt\"", "null", "x"), 0,
      RES_CLIENT_ERROR },
    { OPENAI, 400, JSON, ERROR("\"unknown_parameter\"",
      "\"invalid_request_error\"", "Unknown parameter: 'x'."), 0,
      RES_CLIENT_ERROR },
    { OPENAI, 413, JSON, ERROR("\"rate_limit_exceeded\"", "\"tokens\"",
      "Request too large for model"), 0, RES_RATE_LIMITED },

    /* Azure's filter */

    { OPENAI, 400, JSON, "{\"error\":{\"message\":\"The response was filtered "
      "due to the prompt triggering Azure OpenAI's content management "
      "policy.\",\"type\":null,\"param\":\"prompt\",\"code\":"
      "\"content_filter\",\"status\":400,\"innererror\":{\"code\":"
      "\"ResponsibleAIPolicyViolation\",\"content_filter_result\":{\"hate\":"
      "{\"filtered\":true,\"severity\":\"high\"}}}}}", 0, RES_CONTENT_POLICY },
    { OPENAI, 400, JSON, "{\"error\":{\"code\":null,\"innererror\":{\"code\":"
      "\"ResponsibleAIPolicyViolation\"}}}", 0, RES_CONTENT_POLICY },
    { OPENAI, 400, JSON, ERROR("null", "null", "The response was filtered due "
      "to the prompt triggering Azure OpenAI's content management policy"), 0,
      RES_CONTENT_POLICY },
    { OPENAI, 400, JSON, ERROR("\"content_policy_violation\"",
      "\"invalid_request_error\"", "Your request was rejected as a result of "
      "our safety system."), 0, RES_CONTENT_POLICY },

    /* keys, models */

    { OPENAI, 401, JSON, ERROR("\"invalid_api_key\"",
      "\"invalid_request_error\"", "Incorrect API key provided"), 0,
      RES_AUTH },
    { OPENAI, 401, JSON, ERROR("\"insufficient_quota\"", "null", "x"), 0,
      RES_AUTH },
    { OPENAI, 403, JSON, ERROR("\"unsupported_country_region_territory\"",
      "\"request_forbidden\"", "x"), 0, RES_AUTH },
    { OPENAI, 400, JSON, "[{\"error\":{\"code\":400,\"message\":\"API key not "
      "valid. Please pass a valid API key.\",\"status\":"
      "\"INVALID_ARGUMENT\"}}]", 0, RES_AUTH },
    { OPENAI, 400, JSON, "[{\"error\":{\"code\":400,\"message\":\"API key not "
      "valid. Please pass a valid API key.\"}}]", THEIRS, RES_CLIENT_ERROR },
    { OPENAI, 404, JSON, ERROR("\"model_not_found\"",
      "\"invalid_request_error\"", "x"), 0, RES_NOT_FOUND },
    { OPENAI, 400, JSON, ERROR("\"model_not_found\"",
      "\"invalid_request_error\"", "x"), 0, RES_NOT_FOUND },
    { OPENAI, 400, JSON, ERROR("\"model_decommissioned\"", "null", "x"), 0,
      RES_NOT_FOUND },
    { OPENAI, 404, JSON, "{\"error\":{\"code\":\"DeploymentNotFound\"}}", 0,
      RES_NOT_FOUND },

    /* OpenRouter */

    { OPENAI, 402, JSON, "{\"error\":{\"code\":402,\"message\":\"x\","
      "\"metadata\":{\"limit_source\":\"openrouter_in_flight_budget\"}}}",
      WAIT, RES_QUOTA },
    { OPENAI, 403, JSON, "{\"error\":{\"code\":403,\"message\":\"x\","
      "\"metadata\":{\"limit_source\":\"openrouter_workspace_budget\"}}}", 0,
      RES_QUOTA },
    { OPENAI, 429, JSON, "{\"error\":{\"code\":429,\"message\":\"x\","
      "\"metadata\":{\"limit_source\":\"openrouter_key_limit\"}}}", 0,
      RES_QUOTA },
    { OPENAI, 429, JSON, "{\"error\":{\"code\":429,\"message\":\"x\","
      "\"metadata\":{\"error_type\":\"rate_limit_exceeded\"}}}", 0,
      RES_RATE_LIMITED },
    { OPENAI, 403, JSON, "{\"error\":{\"code\":403,\"message\":\"Your input "
      "was flagged\",\"metadata\":{\"reasons\":[\"violence\"]}}}", 0,
      RES_CONTENT_POLICY },
    { OPENAI, 403, JSON, "{\"error\":{\"code\":403,\"message\":\"x\","
      "\"metadata\":{\"patterns\":[\"y\"]}}}", THEIRS, RES_CONTENT_POLICY },
    { OPENAI, 400, JSON, "{\"error\":{\"code\":400,\"message\":\"x\","
      "\"metadata\":{\"error_type\":\"context_length_exceeded\"}}}", 0,
      RES_CONTEXT_LENGTH },

    /* DeepSeek, Ollama, llama.cpp, vLLM */

    { OPENAI, 402, JSON, ERROR("null", "\"unknown_error\"",
      "Insufficient Balance"), 0, RES_QUOTA },
    { OPENAI, 503, JSON, "{\"error\":\"server busy\"}", 0, RES_OVERLOADED },
    { OPENAI, 503, JSON, ERROR("503", "\"unavailable_error\"",
      "Loading model"), 0, RES_OVERLOADED },
    { OPENAI, 501, JSON, ERROR("501", "\"not_supported_error\"", "x"), 0,
      RES_SERVER_ERROR },
    { OPENAI, 500, JSON, ERROR("500", "\"InternalServerError\"", "x"), 0,
      RES_SERVER_ERROR },

    /* a good status */

    { OPENAI, 200, JSON, "{\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,"
      "\"message\":{\"role\":\"assistant\",\"content\":\"prompt is too "
      "long\"},\"finish_reason\":\"stop\"}],\"usage\":{}}", 0, RES_SUCCESS },
    { OPENAI, 200, JSON, "{\"object\":\"response\",\"status\":\"completed\","
      "\"error\":null,\"output\":[]}", 0, RES_SUCCESS },
    { OPENAI, 201, JSON, "{\"id\":\"file-1\",\"object\":\"file\"}", 0,
      RES_SUCCESS },
    { OPENAI, 200, JSON, "\n\n\n {\"a\":1} \n", 0, RES_SUCCESS },
    { OPENAI, 200, JSON, "[]", 0, RES_SUCCESS },
    { OPENAI, 200, JSON, "{\"error\":{}}", 0, RES_SUCCESS },
    { OPENAI, 200, JSON, "{\"error\":{\"code\":null,\"message\":null}}", 0,
      RES_SUCCESS },
    { OPENAI, 200, JSON, "{\"a\":{\"error\":\"x\"}}", 0, RES_SUCCESS },
    { OPENAI, 204, NULL, NULL, 0, RES_SUCCESS },
    { OPENAI, 200, NULL, NULL, PART, RES_SUCCESS },
    { OPENAI, 200, JSON, "{\"cut", PART, RES_SUCCESS },
    { OPENAI, 200, "text/html", "<html>", PART, RES_SUCCESS },
    { OPENAI, 200, "audio/mpeg", "\xff\xfb", 0, RES_SUCCESS },
    { OPENAI, 200, "application/jsonl", "{}\n{}\n", 0, RES_SUCCESS },
    { OPENAI, 200, "application/x-ndjson", "oops", 0, RES_SUCCESS },
    { OPENAI, 200, "text/plain", "a transcript", 0, RES_SUCCESS },
    { OPENAI, 200, "text/plain; x=\"application/json\"", "a", 0, RES_SUCCESS },
    { OPENAI, 200, NULL, "a transcript", 0, RES_SUCCESS },
    { OPENAI, 200, NULL, "{\"a\":1}", 0, RES_SUCCESS },

    { OPENAI, 200, JSON, NULL, 0, RES_INVALID_RESPONSE },
    { OPENAI, 200, NULL, NULL, 0, RES_INVALID_RESPONSE },
    { OPENAI, 200, "audio/mpeg", NULL, 0, RES_INVALID_RESPONSE },
    { OPENAI, 200, JSON, " \r\n\t", 0, RES_INVALID_RESPONSE },
    { OPENAI, 200, JSON, "{\"cut\":", 0, RES_INVALID_RESPONSE },
    { OPENAI, 200, JSON, "{} {}", 0, RES_INVALID_RESPONSE },
    { OPENAI, 200, JSON, "oops", 0, RES_INVALID_RESPONSE },
    { OPENAI, 200, "application/json; charset=utf-8", "oops", 0,
      RES_INVALID_RESPONSE },
    { OPENAI, 200, "Application/JSON ;charset=utf-8", "oops", 0,
      RES_INVALID_RESPONSE },
    { OPENAI, 200, "application/problem+json", "oops", 0,
      RES_INVALID_RESPONSE },
    { OPENAI, 200, NULL, "{oops", 0, RES_INVALID_RESPONSE },
    { OPENAI, 200, NULL, " [oops", 0, RES_INVALID_RESPONSE },
    { OPENAI, 200, "text/html", "<html>", 0, RES_INVALID_RESPONSE },
    { OPENAI, 200, "Text/HTML; charset=utf-8", "{\"a\":1}", 0,
      RES_INVALID_RESPONSE },

    { OPENAI, 200, JSON, ERROR("\"server_error\"", "null", "x"), 0,
      RES_SERVER_ERROR },
    { OPENAI, 200, JSON, ERROR("null", "null", "x"), 0, RES_SERVER_ERROR },
    { OPENAI, 200, JSON, "{\"error\":\"x\"}", 0, RES_SERVER_ERROR },
    { OPENAI, 200, JSON, "{\"error\":true}", 0, RES_SERVER_ERROR },
    { OPENAI, 200, JSON, ERROR("429", "null", "x"), 0, RES_RATE_LIMITED },
    { OPENAI, 200, JSON, ERROR("\"429\"", "null", "x"), 0, RES_RATE_LIMITED },
    { OPENAI, 200, JSON, ERROR("503", "null", "x"), 0, RES_OVERLOADED },
    { OPENAI, 200, JSON, ERROR("502", "null", "x"), 0, RES_SERVER_ERROR },
    { OPENAI, 200, JSON, ERROR("504", "null", "x"), 0, RES_TIMEOUT },
    { OPENAI, 200, JSON, ERROR("402", "null", "x"), 0, RES_QUOTA },
    { OPENAI, 200, JSON, ERROR("401", "null", "x"), 0, RES_AUTH },
    { OPENAI, 200, JSON, ERROR("404", "null", "x"), 0, RES_NOT_FOUND },
    { OPENAI, 200, JSON, ERROR("200", "null", "x"), 0, RES_SERVER_ERROR },
    { OPENAI, 200, JSON, ERROR("4290", "null", "x"), 0, RES_SERVER_ERROR },
    { OPENAI, 200, JSON, ERROR("\"3;9\"", "null", "x"), 0,
      RES_SERVER_ERROR },
    { OPENAI, 200, JSON, ERROR("42.9", "null", "x"), 0, RES_SERVER_ERROR },
    { OPENAI, 200, JSON, ERROR("400", "null", "x"), 0, RES_CLIENT_ERROR },
    { OPENAI, 200, JSON, ERROR("400", "\"BadRequestError\"",
      "This model's maximum context length is 1 token"), 0,
      RES_CONTEXT_LENGTH },
    { OPENAI, 200, JSON, ERROR("\"insufficient_quota\"", "null", "x"), 0,
      RES_QUOTA },
    { OPENAI, 200, JSON, ERROR("\"rate_limit_exceeded\"", "null", "x"), 0,
      RES_RATE_LIMITED },
    { OPENAI, 200, JSON, "{\"object\":\"error\",\"message\":\"x\",\"type\":"
      "\"NotFoundError\",\"code\":404}", 0, RES_NOT_FOUND },
    { OPENAI, 200, JSON, "{\"object\":\"response\",\"status\":\"failed\","
      "\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"x\"}}", 0,
      RES_RATE_LIMITED },
    { OPENAI, 200, JSON, "{\"choices\":[{\"error\":{\"code\":503,\"message\":"
      "\"x\"},\"finish_reason\":\"error\"}]}", 0, RES_OVERLOADED },
    { OPENAI, 200, JSON, "{\"choices\":[{\"finish_reason\":\"error\"}]}", 0,
      RES_SERVER_ERROR },
    { OPENAI, 200, JSON, "{\"choices\":[{\"finish_reason\":"
      "\"insufficient_system_resource\"}]}", 0, RES_OVERLOADED },
    { OPENAI, 200, JSON, "{\"choices\":[{\"error\":null,\"finish_reason\":"
      "\"content_filter\"}]}", 0, RES_SUCCESS },

    /* Anthropic: money and pace */

    { ANTHROPIC, 429, JSON, CLAUDE("rate_limit_error", "x", ""), WAIT,
      RES_RATE_LIMITED },
    { ANTHROPIC, 429, JSON, CLAUDE("rate_limit_error", "x", ""), 0,
      RES_QUOTA },
    { ANTHROPIC, 429, JSON, CLAUDE("rate_limit_error", "x",
      DETAIL("enforced_spend_limit_reached")), 0, RES_QUOTA },
    { ANTHROPIC, 429, JSON, CLAUDE("rate_limit_error", "x",
      DETAIL("contract_spend_limit_reached")), WAIT, RES_QUOTA },
    { ANTHROPIC, 429, JSON, CLAUDE("rate_limit_error", "x",
      DETAIL("ramp_limit_exceeded")), 0, RES_RATE_LIMITED },
    { ANTHROPIC, 429, "text/html", "<html>", 0, RES_RATE_LIMITED },
    { ANTHROPIC, 402, JSON, CLAUDE("billing_error", "x",
      DETAIL("linked_organization_spend_limit_reached")), 0, RES_QUOTA },
    { ANTHROPIC, 400, JSON, CLAUDE("invalid_request_error", "Your credit "
      "balance is too low to access the Anthropic API.", ""), 0, RES_QUOTA },
    { ANTHROPIC, 400, JSON, CLAUDE("invalid_request_error", "You have reached "
      "your specified API usage limits. You will regain access on", ""), 0,
      RES_QUOTA },
    { ANTHROPIC, 400, JSON, CLAUDE("invalid_request_error", "This workspace "
      "has reached its spend limit", ""), 0, RES_QUOTA },

    /* Anthropic: what was asked, keys */

    { ANTHROPIC, 400, JSON, CLAUDE("invalid_request_error",
      "max_tokens: Field required", ""), 0, RES_CLIENT_ERROR },
    { ANTHROPIC, 400, JSON, CLAUDE("invalid_request_error",
      "prompt is too long: 207310 tokens > 200000 maximum", ""), 0,
      RES_CONTEXT_LENGTH },
    { ANTHROPIC, 400, JSON, CLAUDE("invalid_request_error", "input length and "
      "`max_tokens` exceed context limit: 190000 + 20000 > 200000", ""), 0,
      RES_CONTEXT_LENGTH },
    { ANTHROPIC, 400, JSON, CLAUDE("invalid_request_error",
      "Output blocked by content filtering policy", ""), 0,
      RES_CONTENT_POLICY },
    { ANTHROPIC, 400, JSON, CLAUDE("invalid_request_error", "x",
      DETAIL("organization_on_hold")), 0, RES_AUTH },
    { ANTHROPIC, 400, JSON, CLAUDE("invalid_request_error", "x",
      DETAIL("organization_on_hold")), THEIRS, RES_CLIENT_ERROR },
    { ANTHROPIC, 401, JSON, CLAUDE("authentication_error", "x", ""), 0,
      RES_AUTH },
    { ANTHROPIC, 403, JSON, CLAUDE("permission_error", "x", ""), THEIRS,
      RES_CLIENT_ERROR },
    { ANTHROPIC, 404, JSON, CLAUDE("not_found_error", "model: x", ""), 0,
      RES_NOT_FOUND },
    { ANTHROPIC, 413, JSON, CLAUDE("request_too_large", "x", ""), 0,
      RES_CLIENT_ERROR },
    { ANTHROPIC, 529, JSON, CLAUDE("overloaded_error", "Overloaded", ""), WAIT,
      RES_OVERLOADED },
    { ANTHROPIC, 503, JSON, CLAUDE("api_error", "x",
      DETAIL("cmek_key_unreachable")), 0, RES_OVERLOADED },

    /* Anthropic: a good status */

    { ANTHROPIC, 200, JSON, "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":"
      "\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"Hi\"}],"
      "\"stop_reason\":\"end_turn\",\"usage\":{}}", 0, RES_SUCCESS },
    { ANTHROPIC, 200, JSON, "{\"type\":\"message\",\"content\":[],"
      "\"stop_reason\":\"refusal\"}", 0, RES_CONTENT_POLICY },
    { ANTHROPIC, 200, JSON, "{\"input_tokens\":14}", 0, RES_SUCCESS },
    { ANTHROPIC, 204, NULL, NULL, 0, RES_SUCCESS },
    { ANTHROPIC, 200, JSON, "{\"type\":\"mess", PART, RES_SUCCESS },
    { ANTHROPIC, 200, JSON, "", 0, RES_INVALID_RESPONSE },
    { ANTHROPIC, 200, JSON, "{\"type\":\"mess", 0, RES_INVALID_RESPONSE },
    { ANTHROPIC, 200, "text/html", "<html>", 0, RES_INVALID_RESPONSE },
    { ANTHROPIC, 200, JSON, CLAUDE("overloaded_error", "x", ""), 0,
      RES_OVERLOADED },
    { ANTHROPIC, 200, JSON, CLAUDE("api_error", "x", ""), 0,
      RES_SERVER_ERROR },
    { ANTHROPIC, 200, JSON, CLAUDE("unheard_of", "x", ""), 0,
      RES_SERVER_ERROR },
    { ANTHROPIC, 200, JSON, CLAUDE("invalid_request_error",
      "prompt is too long: 3 tokens > 2", ""), 0, RES_CONTEXT_LENGTH },
    { ANTHROPIC, 200, JSON, "{\"type\":\"error\"}", 0, RES_SERVER_ERROR },
    { ANTHROPIC, 200, JSON, "{\"error\":{\"type\":\"rate_limit_error\"}}", 0,
      RES_RATE_LIMITED }
};


static void
test_answers(void)
{
    size_t               i;
    llm_str_t            type, body;
    llm_answer_t         a;
    res_outcome_e        got;
    const answer_row_t  *row;

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        row = &answers[i];

        type = copy(row->type);
        body = copy(row->body);

        memset(&a, 0, sizeof(llm_answer_t));
        a.status = row->status;
        a.type = type;
        a.body = body;
        a.whole = !(row->flags & PART);
        a.own_key = !(row->flags & THEIRS);
        a.retry_after = (row->flags & WAIT) != 0;

        got = row->dialect->classify(&a);

        is_str(res_outcome_name(got), res_outcome_name(row->want),
               "%s, %u %s %s", row->dialect->name.data, row->status,
               row->type ? row->type : "-",
               row->body && row->body[0] == '{' ? row->body : "");

        free((void *) type.data);
        free((void *) body.data);
    }
}


typedef struct {
    const llm_dialect_t  *dialect;
    const char           *name;
    const char           *data;
    llm_event_e           want;
    res_outcome_e         outcome;       /* of LLM_EVENT_ERROR */
} event_row_t;


#define CHOICE(text)                                                          \
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\","            \
    "\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0," text "}]}"

#define DELTA(text)                                                           \
    CHOICE("\"delta\":{" text "},\"logprobs\":null,\"finish_reason\":null")

#define BLOCK(text)                                                           \
    "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{"       \
    text "}}"

#define PIECE(text)                                                           \
    "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{" text "}}"


static const event_row_t  events[] = {

    /* chat completions */

    { OPENAI, "", "[DONE]", LLM_EVENT_END, 0 },
    { OPENAI, "", "[DONE]  ", LLM_EVENT_END, 0 },
    { OPENAI, "done", "[DONE]", LLM_EVENT_END, 0 },
    { OPENAI, "", DELTA("\"role\":\"assistant\",\"content\":\"\""),
      LLM_EVENT_NOISE, 0 },
    { OPENAI, "", DELTA("\"role\":\"assistant\",\"content\":null,"
      "\"refusal\":null,\"tool_calls\":[]"), LLM_EVENT_NOISE, 0 },
    { OPENAI, "", DELTA("\"role\":\"assistant\""), LLM_EVENT_NOISE, 0 },
    { OPENAI, "", DELTA(""), LLM_EVENT_NOISE, 0 },
    { OPENAI, "", DELTA("\"content\":\"Hello\""), LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", DELTA("\"content\":\" \""), LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", DELTA("\"role\":\"assistant\",\"content\":\"Hi\""),
      LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", DELTA("\"refusal\":\"No\""), LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", DELTA("\"reasoning_content\":\"Hm\""), LLM_EVENT_CONTENT,
      0 },
    { OPENAI, "", DELTA("\"tool_calls\":[{\"index\":0,\"id\":\"call_a\","
      "\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]"),
      LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", CHOICE("\"delta\":{},\"finish_reason\":\"stop\""),
      LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", CHOICE("\"delta\":{},\"finish_reason\":\"content_filter\""),
      LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", "{\"choices\":[{\"delta\":{}},{\"delta\":{\"content\":"
      "\"b\"}}]}", LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", "{\"choices\":[{\"text\":\"\",\"finish_reason\":null}]}",
      LLM_EVENT_NOISE, 0 },
    { OPENAI, "", "{\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}",
      LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", CHOICE("\"message\":{\"content\":\"a\"}"),
      LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", "{\"choices\":[],\"usage\":{\"total_tokens\":29}}",
      LLM_EVENT_USAGE, 0 },
    { OPENAI, "", "{\"choices\":[ ],\"usage\":{}}", LLM_EVENT_USAGE, 0 },
    { OPENAI, "", "{\"choices\":[],\"usage\":null}", LLM_EVENT_NOISE, 0 },
    { OPENAI, "", "{\"choices\":[{\"delta\":{}}],\"usage\":{}}",
      LLM_EVENT_NOISE, 0 },
    { OPENAI, "", "{\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\","
      "\"prompt_filter_results\":[{\"prompt_index\":0}]}", LLM_EVENT_NOISE,
      0 },
    { OPENAI, "", "{\"choices\":[{\"content_filter_offsets\":{\"start\":1},"
      "\"finish_reason\":null,\"index\":0}],\"id\":\"\"}", LLM_EVENT_NOISE,
      0 },
    { OPENAI, "", "{\"error\":null,\"choices\":[{\"delta\":{\"content\":"
      "\"a\"}}]}", LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", "{\"x_groq\":{\"id\":\"req_1\"},\"choices\":[{\"delta\":"
      "{\"role\":\"assistant\"}}]}", LLM_EVENT_NOISE, 0 },
    { OPENAI, "", "{\"anything\":\"else\"}", LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", "1", LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", "", LLM_EVENT_NOISE, 0 },
    { OPENAI, "", " ", LLM_EVENT_NOISE, 0 },

    { OPENAI, "", ERROR("\"server_error\"", "\"server_error\"", "x"),
      LLM_EVENT_ERROR, RES_SERVER_ERROR },
    { OPENAI, "", ERROR("\"upstream_stream_error\"", "\"upstream_error\"",
      "x"), LLM_EVENT_ERROR, RES_SERVER_ERROR },
    { OPENAI, "", ERROR("429", "null", "x"), LLM_EVENT_ERROR,
      RES_RATE_LIMITED },
    { OPENAI, "", ERROR("\"insufficient_quota\"", "null", "x"),
      LLM_EVENT_ERROR, RES_QUOTA },
    { OPENAI, "", ERROR("400", "\"BadRequestError\"",
      "This model's maximum context length is 1 token"), LLM_EVENT_ERROR,
      RES_CONTEXT_LENGTH },
    { OPENAI, "", "{\"id\":\"gen-abc\",\"object\":\"chat.completion.chunk\","
      "\"provider\":\"OpenAI\",\"error\":{\"code\":429,\"message\":\"Rate "
      "limit exceeded\",\"metadata\":{\"error_type\":\"rate_limit_exceeded\"}}"
      ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},"
      "\"finish_reason\":\"error\"}]}", LLM_EVENT_ERROR, RES_RATE_LIMITED },
    { OPENAI, "", "{\"error\":{\"code\":502,\"metadata\":{\"error_type\":"
      "\"provider_overloaded\"}}}", LLM_EVENT_ERROR, RES_OVERLOADED },
    { OPENAI, "", "{\"error\":\"no room\"}", LLM_EVENT_ERROR,
      RES_SERVER_ERROR },
    { OPENAI, "", "{\"x_groq\":{\"id\":\"req_1\",\"error\":\"over\"},"
      "\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", LLM_EVENT_FAILED,
      RES_SERVER_ERROR },
    { OPENAI, "", "{\"x_groq\":{\"error\":null},\"error\":{\"code\":429}}",
      LLM_EVENT_ERROR, RES_RATE_LIMITED },
    { OPENAI, "", CHOICE("\"delta\":{},\"finish_reason\":\"error\""),
      LLM_EVENT_FAILED, RES_SERVER_ERROR },
    { OPENAI, "", CHOICE("\"delta\":{\"content\":\"\"},\"finish_reason\":"
      "\"insufficient_system_resource\""), LLM_EVENT_FAILED,
      RES_OVERLOADED },
    { OPENAI, "", CHOICE("\"error\":{\"code\":504}"), LLM_EVENT_FAILED,
      RES_TIMEOUT },
    { OPENAI, "", "{\"object\":\"error\",\"message\":\"x\",\"code\":503}",
      LLM_EVENT_FAILED, RES_OVERLOADED },
    { OPENAI, "error", "{\"message\":\"x\",\"code\":\"slow_down\"}",
      LLM_EVENT_ERROR, RES_OVERLOADED },
    { OPENAI, "error", "{\"type\":\"server_error\",\"message\":\"x\"}",
      LLM_EVENT_ERROR, RES_SERVER_ERROR },
    { OPENAI, "error", "", LLM_EVENT_ERROR, RES_SERVER_ERROR },
    { OPENAI, "", "oops", LLM_EVENT_ERROR, RES_INVALID_RESPONSE },
    { OPENAI, "", "{\"choices\":[{\"delta\":", LLM_EVENT_ERROR,
      RES_INVALID_RESPONSE },
    { OPENAI, "", "[DONE", LLM_EVENT_ERROR, RES_INVALID_RESPONSE },

    /* responses */

    { OPENAI, "response.created", "{\"type\":\"response.created\","
      "\"response\":{\"status\":\"in_progress\",\"error\":null}}",
      LLM_EVENT_NOISE, 0 },
    { OPENAI, "", "{\"type\":\"response.in_progress\"}", LLM_EVENT_NOISE, 0 },
    { OPENAI, "response.queued", "{}", LLM_EVENT_NOISE, 0 },
    { OPENAI, "response.output_item.added", "{\"type\":"
      "\"response.output_item.added\",\"item\":{}}", LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", "{\"type\":\"response.output_text.delta\",\"delta\":\"a\"}",
      LLM_EVENT_CONTENT, 0 },
    { OPENAI, "response.completed", "{\"type\":\"response.completed\","
      "\"response\":{\"status\":\"completed\",\"error\":null}}",
      LLM_EVENT_END, 0 },
    { OPENAI, "", "{\"type\":\"response.completed\"}", LLM_EVENT_END, 0 },
    { OPENAI, "response.incomplete", "{\"sequence_number\":9}",
      LLM_EVENT_END, 0 },
    { OPENAI, "response.failed", "{\"type\":\"response.failed\",\"response\":"
      "{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"x\"}}}",
      LLM_EVENT_ERROR, RES_RATE_LIMITED },
    { OPENAI, "", "{\"type\":\"response.failed\",\"response\":{\"error\":"
      "null}}", LLM_EVENT_ERROR, RES_SERVER_ERROR },
    { OPENAI, "", "{\"type\":\"response.failed\",\"response\":{\"error\":"
      "{\"code\":\"bio_policy\"}}}", LLM_EVENT_ERROR, RES_CONTENT_POLICY },
    { OPENAI, "error", "{\"type\":\"error\",\"code\":\"insufficient_quota\","
      "\"message\":\"x\",\"param\":null,\"sequence_number\":3}",
      LLM_EVENT_ERROR, RES_QUOTA },
    { OPENAI, "", "{\"type\":\"error\",\"code\":null,\"message\":\"x\"}",
      LLM_EVENT_ERROR, RES_SERVER_ERROR },
    { OPENAI, "", "{\"type\":\"error\",\"error\":{\"type\":"
      "\"overloaded_error\"}}", LLM_EVENT_ERROR, RES_OVERLOADED },
    { OPENAI, "", "{\"type\":\"transcript.text.done\",\"text\":\"a\"}",
      LLM_EVENT_END, 0 },

    /* messages */

    { ANTHROPIC, "message_start", "{\"type\":\"message_start\",\"message\":"
      "{\"type\":\"message\",\"content\":[],\"stop_reason\":null}}",
      LLM_EVENT_NOISE, 0 },
    { ANTHROPIC, "ping", "{\"type\": \"ping\"}", LLM_EVENT_NOISE, 0 },
    { ANTHROPIC, "ping", "", LLM_EVENT_NOISE, 0 },
    { ANTHROPIC, "", "{\"type\":\"ping\"}", LLM_EVENT_NOISE, 0 },
    { ANTHROPIC, "", "", LLM_EVENT_NOISE, 0 },
    { ANTHROPIC, "content_block_start", BLOCK("\"type\":\"text\",\"text\":"
      "\"\""), LLM_EVENT_NOISE, 0 },
    { ANTHROPIC, "content_block_start", BLOCK("\"type\":\"text\",\"text\":"
      "\"a\""), LLM_EVENT_CONTENT, 0 },
    { ANTHROPIC, "content_block_start", BLOCK("\"type\":\"thinking\","
      "\"thinking\":\"\",\"signature\":\"\""), LLM_EVENT_NOISE, 0 },
    { ANTHROPIC, "content_block_start", BLOCK("\"type\":\"tool_use\",\"id\":"
      "\"toolu_1\",\"name\":\"f\",\"input\":{}"), LLM_EVENT_CONTENT, 0 },
    { ANTHROPIC, "content_block_start", BLOCK("\"type\":"
      "\"redacted_thinking\",\"data\":\"x\""), LLM_EVENT_CONTENT, 0 },
    { ANTHROPIC, "content_block_delta", PIECE("\"type\":\"text_delta\","
      "\"text\":\"I'll check\""), LLM_EVENT_CONTENT, 0 },
    { ANTHROPIC, "content_block_delta", PIECE("\"type\":\"text_delta\","
      "\"text\":\"\""), LLM_EVENT_NOISE, 0 },
    { ANTHROPIC, "content_block_delta", PIECE("\"type\":\"input_json_delta\","
      "\"partial_json\":\"\""), LLM_EVENT_NOISE, 0 },
    { ANTHROPIC, "content_block_delta", PIECE("\"type\":\"input_json_delta\","
      "\"partial_json\":\"{\\\"a\""), LLM_EVENT_CONTENT, 0 },
    { ANTHROPIC, "content_block_delta", PIECE("\"type\":\"thinking_delta\","
      "\"thinking\":\"Hm\""), LLM_EVENT_CONTENT, 0 },
    { ANTHROPIC, "content_block_delta", PIECE("\"type\":\"signature_delta\","
      "\"signature\":\"x\""), LLM_EVENT_CONTENT, 0 },
    { ANTHROPIC, "content_block_stop", "{\"type\":\"content_block_stop\","
      "\"index\":0}", LLM_EVENT_NOISE, 0 },
    { ANTHROPIC, "message_delta", "{\"type\":\"message_delta\",\"delta\":"
      "{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{}}",
      LLM_EVENT_CONTENT, 0 },
    { ANTHROPIC, "message_delta", "{\"type\":\"message_delta\",\"delta\":"
      "{\"stop_reason\":\"refusal\"}}", LLM_EVENT_REFUSED,
      RES_CONTENT_POLICY },
    { ANTHROPIC, "message_delta", "{\"type\":\"message_delta\",\"delta\":"
      "{\"stop_reason\":null}}", LLM_EVENT_NOISE, 0 },
    { ANTHROPIC, "message_stop", "{\"type\":\"message_stop\"}",
      LLM_EVENT_END, 0 },
    { ANTHROPIC, "", "{\"type\":\"message_stop\"}       ", LLM_EVENT_END, 0 },
    { ANTHROPIC, "message_stop", "{}", LLM_EVENT_END, 0 },
    { ANTHROPIC, "news", "{\"type\":\"news\"}", LLM_EVENT_CONTENT, 0 },
    { ANTHROPIC, "", "[DONE]", LLM_EVENT_ERROR, RES_INVALID_RESPONSE },
    { ANTHROPIC, "ping", "{\"type\":", LLM_EVENT_ERROR,
      RES_INVALID_RESPONSE },

    { ANTHROPIC, "error", CLAUDE("overloaded_error", "Overloaded", ""),
      LLM_EVENT_ERROR, RES_OVERLOADED },
    { ANTHROPIC, "", CLAUDE("overloaded_error", "Overloaded", ""),
      LLM_EVENT_ERROR, RES_OVERLOADED },
    { ANTHROPIC, "error", "{\"error\":{\"type\":\"overloaded_error\"}}",
      LLM_EVENT_ERROR, RES_OVERLOADED },
    { ANTHROPIC, "", "{\"error\":{\"type\":\"overloaded_error\"}}",
      LLM_EVENT_ERROR, RES_OVERLOADED },
    { ANTHROPIC, "error", CLAUDE("rate_limit_error", "x", ""),
      LLM_EVENT_ERROR, RES_RATE_LIMITED },
    { ANTHROPIC, "error", CLAUDE("api_error", "x", ""), LLM_EVENT_ERROR,
      RES_SERVER_ERROR },
    { ANTHROPIC, "error", CLAUDE("authentication_error", "x", ""),
      LLM_EVENT_ERROR, RES_AUTH },
    { ANTHROPIC, "error", CLAUDE("permission_error", "x", ""),
      LLM_EVENT_ERROR, RES_AUTH },
    { ANTHROPIC, "error", CLAUDE("invalid_request_error", "x", ""),
      LLM_EVENT_ERROR, RES_CLIENT_ERROR },
    { ANTHROPIC, "error", CLAUDE("not_found_error", "x", ""),
      LLM_EVENT_ERROR, RES_NOT_FOUND },
    { ANTHROPIC, "error", CLAUDE("request_too_large", "x", ""),
      LLM_EVENT_ERROR, RES_CLIENT_ERROR },
    { ANTHROPIC, "error", CLAUDE("conflict_error", "x", ""),
      LLM_EVENT_ERROR, RES_CLIENT_ERROR },
    { ANTHROPIC, "error", CLAUDE("billing_error", "x", ""), LLM_EVENT_ERROR,
      RES_QUOTA },
    { ANTHROPIC, "error", CLAUDE("timeout_error", "x", ""), LLM_EVENT_ERROR,
      RES_TIMEOUT },
    { ANTHROPIC, "error", CLAUDE("unheard_of", "x", ""), LLM_EVENT_ERROR,
      RES_SERVER_ERROR },
    { ANTHROPIC, "error", CLAUDE("invalid_request_error",
      "prompt is too long: 3 tokens > 2", ""), LLM_EVENT_ERROR,
      RES_CONTEXT_LENGTH },
    { ANTHROPIC, "error", "", LLM_EVENT_ERROR, RES_SERVER_ERROR }
};


static const event_row_t  cuts[] = {
    { OPENAI, "", "{\"choices\":[{\"delta\":{\"content\":\"Hel",
      LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", "{\"choices\":[{\"delta\":{\"role\":\"assistant\"",
      LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", "{\"id\":\"", LLM_EVENT_CONTENT, 0 },
    { OPENAI, "", "{\"type\":\"response.completed\",\"response\":{\"out",
      LLM_EVENT_END, 0 },
    { OPENAI, "", "{\"error\":{\"code\":429,\"message\":\"xxx",
      LLM_EVENT_ERROR, RES_RATE_LIMITED },
    { OPENAI, "error", "{\"mess", LLM_EVENT_ERROR, RES_SERVER_ERROR },
    { ANTHROPIC, "message_start", "{\"type\":\"message_start\",\"mes",
      LLM_EVENT_NOISE, 0 },
    { ANTHROPIC, "content_block_start", "{\"type\":\"content_block_start\","
      "\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"",
      LLM_EVENT_CONTENT, 0 },
    { ANTHROPIC, "", "{\"type\":\"content_block_delta\",\"del",
      LLM_EVENT_CONTENT, 0 },
    { ANTHROPIC, "", "{\"x\":\"", LLM_EVENT_CONTENT, 0 },
    { ANTHROPIC, "error", "{\"type\":\"error\",\"error\":{\"type\":"
      "\"overloaded_error\",\"message\":\"xx", LLM_EVENT_ERROR,
      RES_OVERLOADED }
};


static void
test_event(const event_row_t *row, unsigned cut)
{
    llm_str_t      data, name;
    llm_event_e    got;
    llm_event_t    e;
    res_outcome_e  outcome;

    name = copy(row->name);
    data = copy(row->data);

    e.name = name;
    e.data = data;
    e.cut = cut;
    outcome = RES_SUCCESS;

    got = row->dialect->event(&e, &outcome);

    is_int(got, row->want, "%s%s event %s: %s", row->dialect->name.data,
           cut ? ", cut" : "", row->name, row->data);

    if (row->want >= LLM_EVENT_ERROR && row->want != LLM_EVENT_LAST) {
        is_str(res_outcome_name(outcome), res_outcome_name(row->outcome),
               "and its class");
    }

    free((void *) name.data);
    free((void *) data.data);
}


static void
test_events(void)
{
    size_t  i;

    for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        test_event(&events[i], 0);
    }

    for (i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        test_event(&cuts[i], 1);
    }
}


/* names of errors: a code, a type, or what stands next to them */

typedef struct {
    const llm_dialect_t  *dialect;
    const char           *name;
    res_outcome_e         want;
} name_row_t;


static const name_row_t  names[] = {
    { OPENAI, "insufficient_quota", RES_QUOTA },
    { OPENAI, "credit_balance_exhausted", RES_QUOTA },
    { OPENAI, "organization_spend_limit_exceeded", RES_QUOTA },
    { OPENAI, "project_spend_limit_exceeded", RES_QUOTA },
    { OPENAI, "organization_usage_limit_exceeded", RES_QUOTA },
    { OPENAI, "billing_not_active", RES_QUOTA },
    { OPENAI, "billing_hard_limit_reached", RES_QUOTA },
    { OPENAI, "payment_required", RES_QUOTA },
    { OPENAI, "token_limit_exceeded", RES_QUOTA },
    { OPENAI, "openrouter_credits", RES_QUOTA },
    { OPENAI, "openrouter_key_limit", RES_QUOTA },
    { OPENAI, "openrouter_guardrail_budget", RES_QUOTA },
    { OPENAI, "openrouter_workspace_budget", RES_QUOTA },
    { OPENAI, "openrouter_in_flight_budget", RES_QUOTA },
    { OPENAI, "context_length_exceeded", RES_CONTEXT_LENGTH },
    { OPENAI, "exceed_context_size_error", RES_CONTEXT_LENGTH },
    { OPENAI, "content_filter", RES_CONTENT_POLICY },
    { OPENAI, "content_policy_violation", RES_CONTENT_POLICY },
    { OPENAI, "ResponsibleAIPolicyViolation", RES_CONTENT_POLICY },
    { OPENAI, "bio_policy", RES_CONTENT_POLICY },
    { OPENAI, "misalignment_policy_violation", RES_CONTENT_POLICY },
    { OPENAI, "rate_limit_exceeded", RES_RATE_LIMITED },
    { OPENAI, "rate_limit_error", RES_RATE_LIMITED },
    { OPENAI, "requests", RES_RATE_LIMITED },
    { OPENAI, "tokens", RES_RATE_LIMITED },
    { OPENAI, "capacity_exceeded", RES_RATE_LIMITED },
    { OPENAI, "RESOURCE_EXHAUSTED", RES_RATE_LIMITED },
    { OPENAI, "slow_down", RES_OVERLOADED },
    { OPENAI, "server_is_overloaded", RES_OVERLOADED },
    { OPENAI, "service_unavailable_error", RES_OVERLOADED },
    { OPENAI, "overloaded_error", RES_OVERLOADED },
    { OPENAI, "unavailable_error", RES_OVERLOADED },
    { OPENAI, "provider_overloaded", RES_OVERLOADED },
    { OPENAI, "capacity_exhausted", RES_OVERLOADED },
    { OPENAI, "insufficient_system_resource", RES_OVERLOADED },
    { OPENAI, "server_error", RES_SERVER_ERROR },
    { OPENAI, "api_error", RES_SERVER_ERROR },
    { OPENAI, "provider_unavailable", RES_SERVER_ERROR },
    { OPENAI, "InternalServerError", RES_SERVER_ERROR },
    { OPENAI, "timeout", RES_TIMEOUT },
    { OPENAI, "timeout_error", RES_TIMEOUT },
    { OPENAI, "vector_store_timeout", RES_TIMEOUT },
    { OPENAI, "invalid_api_key", RES_AUTH },
    { OPENAI, "authentication", RES_AUTH },
    { OPENAI, "authentication_error", RES_AUTH },
    { OPENAI, "permission_denied", RES_AUTH },
    { OPENAI, "model_not_found", RES_NOT_FOUND },
    { OPENAI, "model_decommissioned", RES_NOT_FOUND },
    { OPENAI, "DeploymentNotFound", RES_NOT_FOUND },
    { OPENAI, "not_found", RES_NOT_FOUND },
    { OPENAI, "not_found_error", RES_NOT_FOUND },
    { OPENAI, "NotFoundError", RES_NOT_FOUND },
    { OPENAI, "invalid_request_error", RES_CLIENT_ERROR },
    { OPENAI, "invalid_request", RES_CLIENT_ERROR },
    { OPENAI, "invalid_prompt", RES_CLIENT_ERROR },
    { OPENAI, "BadRequestError", RES_CLIENT_ERROR },

    { ANTHROPIC, "enforced_spend_limit_reached", RES_QUOTA },
    { ANTHROPIC, "contract_spend_limit_reached", RES_QUOTA },
    { ANTHROPIC, "linked_organization_spend_limit_reached", RES_QUOTA },
    { ANTHROPIC, "linked_organization_billing_unavailable", RES_QUOTA },
    { ANTHROPIC, "ramp_limit_exceeded", RES_RATE_LIMITED },
    { ANTHROPIC, "organization_on_hold", RES_AUTH },
    { ANTHROPIC, "cmek_key_disabled", RES_AUTH }
};


static const char *const  openai_places[] = {
    "{\"error\":{\"code\":\"%s\",\"type\":\"x\",\"message\":\"x\"}}",
    "{\"error\":{\"code\":null,\"type\":\"%s\",\"message\":\"x\"}}",
    "{\"error\":{\"code\":418,\"type\":\"%s\",\"message\":\"x\"}}",
    "{\"error\":{\"metadata\":{\"error_type\":\"%s\"},\"message\":\"x\"}}",
    "{\"object\":\"error\",\"code\":\"%s\",\"message\":\"x\"}",
    "{\"type\":\"error\",\"code\":\"%s\",\"message\":\"x\",\"param\":null}",
    "{\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"%s\"}}}",
    NULL
};

static const char *const  anthropic_places[] = {
    "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"x\","
    "\"details\":{\"error_code\":\"%s\"}}}",
    NULL
};


static void
test_names(void)
{
    char                data[256];
    size_t              i;
    llm_event_t         e;
    res_outcome_e       outcome;
    const char *const  *place;

    memset(&e, 0, sizeof(llm_event_t));

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {

        place = (names[i].dialect == OPENAI) ? openai_places
                                             : anthropic_places;

        for ( /* void */ ; *place; place++) {
            snprintf(data, sizeof(data), *place, names[i].name);
            e.data = str(data);
            outcome = RES_SUCCESS;

            ok(names[i].dialect->event(&e, &outcome) >= LLM_EVENT_ERROR
               && outcome == names[i].want, "%s is %s: %s", names[i].name,
               res_outcome_name(names[i].want), data);
        }
    }
}


/* whole streams, an event a letter: noise, content, end, error, usage */

typedef struct {
    const llm_dialect_t  *dialect;
    const char           *what;
    const char           *want;
    const char           *text;
} stream_row_t;


#define CHAT(rest)                                                            \
    "data: {\"id\":\"chatcmpl-123\",\"object\":\"chat.completion.chunk\","    \
    "\"created\":1694268190,\"model\":\"gpt-4o-mini\",\"system_fingerprint\"" \
    ":\"fp_x\"," rest "}\n\n"

static const stream_row_t  streams[] = {

    { OPENAI, "chat", "NCCCUE",
      CHAT("\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
           "\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}],"
           "\"obfuscation\":\"r4N7\"")
      CHAT("\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"},"
           "\"logprobs\":null,\"finish_reason\":null}]")
      CHAT("\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,"
           "\"function\":{\"arguments\":\"{\\\"city\"}}]},\"finish_reason\":"
           "null}]")
      CHAT("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":"
           "\"tool_calls\"}]")
      CHAT("\"choices\":[],\"usage\":{\"prompt_tokens\":19,"
           "\"completion_tokens\":10,\"total_tokens\":29}")
      "data: [DONE]\n\n" },

    { OPENAI, "vLLM fails", "CXE",
      ": x\n\n"
      CHAT("\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]")
      "data: {\"error\":{\"message\":\"x\",\"type\":\"InternalServerError\","
      "\"code\":500}}\n\n"
      "data: [DONE]\n\n" },

    { OPENAI, "responses", "NNCCE",
      "event: response.created\n"
      "data: {\"type\":\"response.created\",\"sequence_number\":0}\n\n"
      "event: response.in_progress\n"
      "data: {\"type\":\"response.in_progress\",\"sequence_number\":1}\n\n"
      "event: response.output_item.added\n"
      "data: {\"type\":\"response.output_item.added\"}\n\n"
      "event: response.output_text.delta\n"
      "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n"
      "event: response.completed\n"
      "data: {\"type\":\"response.completed\",\"response\":{}}\n\n" },

    { OPENAI, "OpenRouter fails at once", "X",
      ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n"
      "data: {\"id\":\"gen-abc\",\"error\":{\"code\":429,\"message\":\"Rate "
      "limit exceeded\"},\"choices\":[{\"index\":0,\"delta\":{\"content\":"
      "\"\"},\"finish_reason\":\"error\"}]}\n\n" },

    { ANTHROPIC, "messages", "NNNCNCCNCE",
      "event: message_start\n"
      "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_019Q\","
      "\"type\":\"message\",\"role\":\"assistant\",\"content\":[],"
      "\"stop_reason\":null,\"usage\":{\"input_tokens\":377}}}\n\n"
      "event: content_block_start\n"
      "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":"
      "{\"type\":\"text\",\"text\":\"\"}}\n\n"
      "event: ping\n"
      "data: {\"type\": \"ping\"}\n\n"
      "event: content_block_delta\n"
      "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":"
      "\"text_delta\",\"text\":\"I'll check\"}}      \n\n"
      "event: content_block_stop\n"
      "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
      "event: content_block_start\n"
      "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":"
      "{\"type\":\"tool_use\",\"id\":\"toolu_01N\",\"name\":\"get_weather\","
      "\"input\":{}}}\n\n"
      "event: content_block_delta\n"
      "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":"
      "\"input_json_delta\",\"partial_json\":\"{\\\"locati\"}}\n\n"
      "event: content_block_stop\n"
      "data: {\"type\":\"content_block_stop\",\"index\":1}\n\n"
      "event: message_delta\n"
      "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"
      "\"tool_use\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":65}}"
      "\n\n"
      "event: message_stop\n"
      "data: {\"type\":\"message_stop\"}\n\n" },

    { ANTHROPIC, "messages, overloaded", "NX",
      "event: message_start\n"
      "data: {\"type\":\"message_start\",\"message\":{}}\n\n"
      "event: error\n"
      "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
      "\"message\":\"Overloaded\"},\"request_id\":\"req_1\"}\n\n" }
};


static unsigned char  buf[8192];


static void
read_piece(llm_sse_t *s, const llm_dialect_t *dialect, const char *text,
    size_t len, char *log)
{
    llm_event_t           e;
    unsigned char        *piece;
    res_outcome_e         outcome;
    const unsigned char  *pos;

    piece = malloc(len ? len : 1);

    if (piece == NULL) {
        abort();
    }

    memcpy(piece, text, len);
    pos = piece;
    log += strlen(log);

    while (llm_sse_next(s, &pos, piece + len, &e)) {
        *log++ = "NUCEXFLRD"[dialect->event(&e, &outcome)];
    }

    *log = '\0';
    free(piece);
}


static char *
lines(const char *text, const char *end)
{
    char  *p, *out;

    out = malloc(2 * strlen(text) + 1);

    if (out == NULL) {
        abort();
    }

    for (p = out; *text; text++) {

        if (*text == '\n') {
            p += sprintf(p, "%s", end);

        } else {
            *p++ = *text;
        }
    }

    *p = '\0';

    return out;
}


static void
test_streams(void)
{
    int                  good;
    char                *text, log[64];
    size_t               i, k, len;
    unsigned             how;
    llm_sse_t            s;
    const stream_row_t  *row;

    static const char *const  ends[] = { "\n", "\r", "\r\n" };
    static const char *const  names[] = { "LF", "CR", "CRLF" };

    for (i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        row = &streams[i];

        for (how = 0; how < 3; how++) {
            text = lines(row->text, ends[how]);
            len = strlen(text);
            good = 1;

            for (k = 0; k <= len; k++) {
                log[0] = '\0';
                llm_sse_init(&s, buf, sizeof(buf));

                read_piece(&s, row->dialect, text, k, log);
                read_piece(&s, row->dialect, text + k, len - k, log);

                good &= strcmp(log, row->want) == 0;
            }

            is_str(log, row->want, "stream: %s, %s", row->what, names[how]);
            ok(good, "stream: %s, %s, in pieces", row->what, names[how]);

            free(text);
        }
    }
}


typedef struct {
    unsigned     status;
    const char  *openai;
    const char  *anthropic;
} type_row_t;


static const type_row_t  types[] = {
    { 400, "invalid_request_error", "invalid_request_error" },
    { 401, "authentication_error", "authentication_error" },
    { 402, "insufficient_quota", "billing_error" },
    { 403, "permission_error", "permission_error" },
    { 404, "not_found_error", "not_found_error" },
    { 405, "invalid_request_error", "invalid_request_error" },
    { 408, "timeout_error", "timeout_error" },
    { 409, "invalid_request_error", "conflict_error" },
    { 413, "invalid_request_error", "request_too_large" },
    { 422, "invalid_request_error", "invalid_request_error" },
    { 429, "rate_limit_error", "rate_limit_error" },
    { 500, "server_error", "api_error" },
    { 501, "server_error", "api_error" },
    { 502, "upstream_error", "api_error" },
    { 503, "service_unavailable_error", "overloaded_error" },
    { 504, "timeout_error", "timeout_error" },
    { 529, "service_unavailable_error", "overloaded_error" }
};


static const char  message[] = "it's \"gone\"\n\\ \x01\xff";

#define SAID  "it's \\\"gone\\\"\\n\\\\ \\u0001\xef\xbf\xbd"


/* written, counted, and as the other side reads it */

static void
test_error(const llm_dialect_t *d, unsigned status, const char *body,
    const char *event)
{
    size_t                len, n;
    llm_sse_t             s;
    llm_str_t             whole;
    llm_event_t           e;
    llm_answer_t          a;
    unsigned char         out[1024], gather[16];
    res_outcome_e         outcome;
    const unsigned char  *pos;

    n = d->error_body(NULL, status, "breaker_open", message);
    len = d->error_body(out, status, "breaker_open", message);
    out[len] = '\0';

    is_str((char *) out, body, "%s body of %u", d->name.data, status);
    is_int(n, len, "and its length");

    whole = (llm_str_t) { len, out };
    ok(llm_json_valid(whole), "and it is JSON");

    memset(&a, 0, sizeof(llm_answer_t));
    a.status = 200;
    a.type = str(JSON);
    a.body = whole;
    a.whole = 1;

    ok(d->classify(&a) != RES_SUCCESS, "and read back it is an error");

    n = d->error_event(NULL, NULL, status, "breaker_open", message);
    len = d->error_event(out, NULL, status, "breaker_open", message);
    out[len] = '\0';

    is_str((char *) out, event, "%s event of %u", d->name.data, status);
    is_int(n, len, "and its length");

    pos = out;
    llm_sse_init(&s, gather, sizeof(gather));

    ok(llm_sse_next(&s, &pos, out + len, &e) == 1 && pos == out + len
       && d->event(&e, &outcome) == LLM_EVENT_ERROR,
       "and read back it is an error");
}


static void
test_errors(void)
{
    char    body[512], event[600];
    size_t  i;

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {

        snprintf(body, sizeof(body), "{\"error\":{\"message\":\"%s\",\"type\":"
                 "\"%s\",\"param\":null,\"code\":\"breaker_open\"}}", SAID,
                 types[i].openai);
        snprintf(event, sizeof(event), "data: %s\n\n", body);
        test_error(OPENAI, types[i].status, body, event);

        snprintf(body, sizeof(body), "{\"type\":\"error\",\"error\":{\"type\":"
                 "\"%s\",\"message\":\"%s\",\"details\":{\"error_code\":"
                 "\"breaker_open\"}}}", types[i].anthropic, SAID);
        snprintf(event, sizeof(event), "event: error\ndata: %s\n\n", body);
        test_error(ANTHROPIC, types[i].status, body, event);
    }
}


static void
test_table(void)
{
    unsigned              n;
    const llm_dialect_t  *d;

    for (n = 0; (d = llm_dialect_get(n)) != NULL; n++) {
        ok(llm_dialect_find((const char *) d->name.data, d->name.len) == d,
           "dialect %s is found", d->name.data);
        ok(d->classify != NULL && d->key_header != NULL
           && d->key_prefix != NULL && d->error_body != NULL
           && d->error_type.len != 0, "dialect %s has what all have",
           d->name.data);
        is_int(d->event != NULL, d->error_event != NULL,
               "dialect %s ends the streams it reads", d->name.data);
    }

    is_int(n, 5, "dialects");
    ok(llm_dialect_get(n + 1) == NULL, "and none behind the last");
    ok(llm_dialect_get((unsigned) -1) == NULL, "nor far behind");

    ok(llm_dialect_find("openai", 6) == OPENAI, "find openai");
    ok(llm_dialect_find("anthropic", 9) == ANTHROPIC, "find anthropic");
    ok(llm_dialect_find("none", 4) == NONE, "find none");
    ok(llm_dialect_find("OpenAI", 6) == NULL, "the letters' case counts");
    ok(llm_dialect_find("openai", 5) == NULL, "not less");
    ok(llm_dialect_find("openai2", 7) == NULL, "not more");
    ok(llm_dialect_find("", 0) == NULL, "not nothing");

    is_str(llm_dialect_openai.url, "https://api.openai.com", "url");
    is_str(llm_dialect_openai.key_header, "authorization", "key's header");
    is_str(llm_dialect_openai.key_prefix, "Bearer ", "key's prefix");
    is_str(llm_dialect_anthropic.url, "https://api.anthropic.com", "url");
    is_str(llm_dialect_anthropic.key_header, "x-api-key", "key's header");
    is_str(llm_dialect_anthropic.key_prefix, "", "key's prefix");
    ok(llm_dialect_none.url == NULL, "no url");
    ok(llm_dialect_none.event == NULL, "no streams");
    is_str(llm_dialect_none.key_header, "authorization", "key's header");
    is_str(llm_dialect_none.key_prefix, "Bearer ", "key's prefix");
}


int
main(void)
{
    test_table();
    test_answers();
    test_events();
    test_names();
    test_streams();
    test_errors();

    return done_testing();
}
