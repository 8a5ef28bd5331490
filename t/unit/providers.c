
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


/*
 * What providers send, in the shapes that were recorded of them: answers,
 * errors, and streams split at every byte.
 */


#include "llm/dialect.h"
#include "llm/json.h"
#include "tap.h"

#include <stdlib.h>


#define OPENAI     &llm_dialect_openai
#define ANTHROPIC  &llm_dialect_anthropic
#define AZURE      &llm_dialect_azure
#define GEMINI     &llm_dialect_gemini
#define NONE       &llm_dialect_none

#define THEIRS     1             /* the client's credential, not our key */
#define CODED      2             /* there is a Content-Encoding */


static llm_str_t
str(const char *text)
{
    llm_str_t  s;

    s.len = strlen(text);
    s.data = (const unsigned char *) text;

    return s;
}


typedef struct {
    const llm_dialect_t  *dialect;
    unsigned              status;
    const char           *body;
    unsigned              flags;
    res_outcome_e         want;
    unsigned              advice;
} answer_row_t;


#define ONCE       LLM_ADVICE_ONCE
#define MOVE       LLM_ADVICE_MOVE
#define BLAMELESS  LLM_ADVICE_BLAMELESS
#define STOP       LLM_ADVICE_STOP

#define STATUS(code, status, message, details)                                \
    "{\"error\":{\"code\":" code ",\"message\":\"" message "\",\"status\":\"" \
    status "\",\"details\":[" details "]}}"

#define TYPE(name)  "{\"@type\":\"type.googleapis.com/google.rpc." name "\","

#define QUOTA(id)                                                             \
    TYPE("QuotaFailure") "\"violations\":[{\"quotaMetric\":\"generate\","     \
    "\"quotaId\":\"" id "\"}]}"

#define DELAY(time)   TYPE("RetryInfo") "\"retryDelay\":\"" time "\"}"
#define REASON(name)  TYPE("ErrorInfo") "\"reason\":\"" name "\"}"


static const answer_row_t  answers[] = {

    /* Gemini: errors, with and without the array around them */

    { GEMINI, 400, STATUS("400", "INVALID_ARGUMENT", "x", ""), 0,
      RES_CLIENT_ERROR, 0 },
    { GEMINI, 400, STATUS("400", "INVALID_ARGUMENT", "API key not valid.",
      REASON("API_KEY_INVALID")), 0, RES_AUTH, 0 },
    { GEMINI, 400, "[" STATUS("400", "INVALID_ARGUMENT", "x",
      REASON("API_KEY_INVALID")) "]", 0, RES_AUTH, 0 },
    { GEMINI, 400, STATUS("400", "INVALID_ARGUMENT", "x",
      REASON("API_KEY_INVALID")), THEIRS, RES_CLIENT_ERROR, 0 },
    { GEMINI, 400, STATUS("400", "FAILED_PRECONDITION", "User location is not "
      "supported for the API use.", ""), 0, RES_QUOTA, 0 },
    { GEMINI, 400, STATUS("400", "INVALID_ARGUMENT", "The input token count "
      "(1200000) exceeds the maximum number of tokens allowed (1048576).",
      ""), 0, RES_CONTEXT_LENGTH, 0 },
    { GEMINI, 400, NULL, 0, RES_CLIENT_ERROR, 0 },
    { GEMINI, 401, STATUS("401", "UNAUTHENTICATED", "x", ""), 0, RES_AUTH, 0 },
    { GEMINI, 401, STATUS("401", "UNAUTHENTICATED", "x", ""), THEIRS,
      RES_CLIENT_ERROR, 0 },
    { GEMINI, 402, STATUS("402", "x", "x", ""), 0, RES_QUOTA, 0 },
    { GEMINI, 403, STATUS("403", "PERMISSION_DENIED", "x", ""), 0, RES_AUTH,
      0 },
    { GEMINI, 403, STATUS("403", "PERMISSION_DENIED", "x",
      REASON("BILLING_DISABLED")), 0, RES_QUOTA, 0 },
    { GEMINI, 404, STATUS("404", "NOT_FOUND", "x", ""), 0, RES_NOT_FOUND, 0 },
    { GEMINI, 429, STATUS("429", "RESOURCE_EXHAUSTED", "You exceeded your "
      "current quota", QUOTA("GenerateRequestsPerMinutePerProject") ","
      DELAY("46s")), 0, RES_RATE_LIMITED, 0 },
    { GEMINI, 429, STATUS("429", "RESOURCE_EXHAUSTED", "x",
      QUOTA("GenerateRequestsPerDayPerProjectPerModel-FreeTier") ","
      DELAY("46s")), 0, RES_QUOTA, 0 },
    { GEMINI, 429, "[" STATUS("429", "RESOURCE_EXHAUSTED", "x",
      QUOTA("GenerateRequestsPerDayPerProjectPerModel-FreeTier")) "]", 0,
      RES_QUOTA, 0 },
    { GEMINI, 429, STATUS("429", "RESOURCE_EXHAUSTED", "x", DELAY("120s")), 0,
      RES_RATE_LIMITED, 0 },
    { GEMINI, 429, STATUS("429", "RESOURCE_EXHAUSTED", "x", DELAY("120.5s")),
      0, RES_QUOTA, 0 },
    { GEMINI, 429, STATUS("429", "RESOURCE_EXHAUSTED", "x",
      DELAY("35617.7s")), 0, RES_QUOTA, 0 },
    { GEMINI, 429, STATUS("429", "RESOURCE_EXHAUSTED", "x", DELAY("soon")), 0,
      RES_RATE_LIMITED, 0 },
    { GEMINI, 429, STATUS("429", "RESOURCE_EXHAUSTED",
      "free_tier_requests, limit: 0\\nPlease retry", ""), 0, RES_QUOTA, 0 },
    { GEMINI, 429, STATUS("429", "RESOURCE_EXHAUSTED", "x, limit: 05", ""), 0,
      RES_RATE_LIMITED, 0 },
    { GEMINI, 429, "<html>", 0, RES_RATE_LIMITED, 0 },
    { GEMINI, 499, STATUS("499", "CANCELLED", "x", ""), 0, RES_CANCELLED, 0 },
    { GEMINI, 500, STATUS("500", "INTERNAL", "prompt is too long", ""), 0,
      RES_SERVER_ERROR, 0 },
    { GEMINI, 503, STATUS("503", "UNAVAILABLE", "x", ""), 0, RES_OVERLOADED,
      0 },
    { GEMINI, 504, STATUS("504", "DEADLINE_EXCEEDED", "x", ""), 0,
      RES_TIMEOUT, 0 },

    /* Gemini: answers */

    { GEMINI, 200, "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":"
      "\"Hi\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],"
      "\"usageMetadata\":{\"totalTokenCount\":3},\"modelVersion\":\"x\"}", 0,
      RES_SUCCESS, 0 },
    { GEMINI, 200, "{\"candidates\":[{\"finishReason\":\"SAFETY\"}]}", 0,
      RES_SUCCESS, 0 },
    { GEMINI, 200, "{\"totalTokens\":31}", 0, RES_SUCCESS, 0 },
    { GEMINI, 200, "{\"promptFeedback\":{\"blockReason\":\"SAFETY\"},"
      "\"usageMetadata\":{}}", 0, RES_CONTENT_POLICY, 0 },
    { GEMINI, 200, "{\"candidates\":[],\"promptFeedback\":{\"blockReason\":"
      "\"OTHER\"}}", 0, RES_CONTENT_POLICY, 0 },
    { GEMINI, 200, "{\"promptFeedback\":{\"safetyRatings\":[]},\"candidates\":"
      "[{\"finishReason\":\"STOP\"}]}", 0, RES_SUCCESS, 0 },
    { GEMINI, 200, "{\"candidates\":[{\"finishReason\":"
      "\"MALFORMED_FUNCTION_CALL\"}]}", 0, RES_INVALID_RESPONSE, 0 },
    { GEMINI, 200, "[{\"candidates\":[{}]},{\"usageMetadata\":{}}]", 0,
      RES_SUCCESS, 0 },
    { GEMINI, 200, "[{\"candidates\":[{}]},{\"error\":{\"code\":503,"
      "\"status\":\"UNAVAILABLE\"}}]", 0, RES_OVERLOADED, 0 },
    { GEMINI, 200, STATUS("429", "RESOURCE_EXHAUSTED", "x", ""), 0,
      RES_RATE_LIMITED, 0 },
    { GEMINI, 200, "{\"error\":{\"code\":\"invalid_request\",\"message\":"
      "\"x\"}}", 0, RES_SERVER_ERROR, 0 },
    { GEMINI, 200, "{\"error\":{\"code\":504}}", 0, RES_TIMEOUT, 0 },
    { GEMINI, 200, "{\"candidates\":[", 0, RES_INVALID_RESPONSE, 0 },
    { GEMINI, 200, "", 0, RES_INVALID_RESPONSE, 0 },

    /* Azure */

    { AZURE, 400, "{\"error\":{\"message\":\"The response was filtered due to "
      "the prompt triggering Azure OpenAI's content management policy.\","
      "\"type\":null,\"param\":\"prompt\",\"code\":\"content_filter\","
      "\"status\":400,\"innererror\":{\"code\":"
      "\"ResponsibleAIPolicyViolation\",\"content_filter_result\":{\"hate\":"
      "{\"filtered\":true,\"severity\":\"high\"},\"jailbreak\":{\"filtered\":"
      "false,\"detected\":false}}}}}", 0, RES_CONTENT_POLICY, 0 },
    { AZURE, 404, "{\"error\":{\"code\":\"DeploymentNotFound\",\"message\":"
      "\"x\"}}", 0, RES_NOT_FOUND, 0 },
    { AZURE, 401, "{\"statusCode\":401,\"message\":\"Access denied due to "
      "invalid subscription key\"}", 0, RES_AUTH, 0 },
    { AZURE, 429, "{\"error\":{\"code\":\"429\",\"message\":\"Rate limit is "
      "exceeded. Try again in 6 seconds.\"}}", 0, RES_RATE_LIMITED, 0 },
    { AZURE, 429, "{\"error\":{\"code\":\"429\",\"message\":\"System is "
      "experiencing high demand\"}}", 0, RES_OVERLOADED, MOVE },
    { AZURE, 429, "{\"error\":{\"code\":\"429\",\"message\":\"token budget "
      "exceeded by request parameters\"}}", 0, RES_CLIENT_ERROR, 0 },
    { AZURE, 200, "{\"choices\":[{\"message\":{\"content\":\"x\"},"
      "\"finish_reason\":\"stop\",\"content_filter_error\":{\"code\":"
      "\"content_filter_error\"}}]}", 0, RES_SUCCESS, 0 },

    /* Google's errors where it speaks OpenAI's dialect */

    { OPENAI, 429, "[" STATUS("429", "RESOURCE_EXHAUSTED", "x",
      QUOTA("XPerDay")) "]", 0, RES_QUOTA, 0 },
    { OPENAI, 429, "[" STATUS("429", "RESOURCE_EXHAUSTED", "You exceeded your "
      "current quota", QUOTA("XPerMinute")) "]", 0, RES_RATE_LIMITED, 0 },
    { OPENAI, 400, "[" STATUS("400", "FAILED_PRECONDITION", "x", "") "]", 0,
      RES_QUOTA, 0 },

    /* an echo of the prompt is not what the provider says */

    { OPENAI, 400, "{\"error\":{\"message\":\"bad: \\\"prompt is too long\\\""
      "\"}}", 0, RES_CLIENT_ERROR, 0 },
    { OPENAI, 400, "{\"error\":{\"message\":\"bad 'prompt is too long'\"}}", 0,
      RES_CLIENT_ERROR, 0 },
    { OPENAI, 400, "{\"error\":{\"message\":\"bad ['it's prompt is too long"
      "\"}}", 0, RES_CLIENT_ERROR, 0 },
    { OPENAI, 400, "{\"error\":{\"message\":\"the 'x' prompt is too long\"}}",
      0, RES_CONTEXT_LENGTH, 0 },
    { OPENAI, 400, "{\"error\":{\"message\":\"longer than the model's context "
      "length\"}}", 0, RES_CONTEXT_LENGTH, 0 },
    { ANTHROPIC, 400, "{\"type\":\"error\",\"error\":{\"type\":"
      "\"invalid_request_error\",\"message\":\"messages: \\\"your credit "
      "balance is too low\\\"\"}}", 0, RES_CLIENT_ERROR, 0 },

    /* what can't be read is not judged */

    { OPENAI, 200, "\x1f\x8b", CODED, RES_SUCCESS, 0 },
    { ANTHROPIC, 200, "\x1f\x8b", CODED, RES_SUCCESS, 0 },
    { GEMINI, 200, "\x1f\x8b", CODED, RES_SUCCESS, 0 },
    { OPENAI, 200, "", CODED, RES_INVALID_RESPONSE, 0 },
    { OPENAI, 400, "{\"error\":{\"code\":\"context_length_exceeded\"}}",
      CODED, RES_CLIENT_ERROR, 0 },
    { GEMINI, 429, "\x1f\x8b", CODED, RES_RATE_LIMITED, 0 },

    /* what else an answer says */

    { OPENAI, 302, NULL, 0, RES_INVALID_RESPONSE, STOP|BLAMELESS },
    { ANTHROPIC, 307, NULL, 0, RES_INVALID_RESPONSE, STOP|BLAMELESS },
    { GEMINI, 301, NULL, 0, RES_INVALID_RESPONSE, STOP|BLAMELESS },
    { OPENAI, 405, NULL, 0, RES_CLIENT_ERROR, LLM_ADVICE_MISFIT },
    { OPENAI, 431, NULL, 0, RES_CLIENT_ERROR, LLM_ADVICE_MISFIT },
    { OPENAI, 408, NULL, 0, RES_TIMEOUT, ONCE },
    { ANTHROPIC, 409, NULL, 0, RES_CLIENT_ERROR, ONCE },
    { OPENAI, 413, NULL, 0, RES_CLIENT_ERROR, MOVE },
    { OPENAI, 425, NULL, 0, RES_CLIENT_ERROR, ONCE },
    { OPENAI, 498, NULL, 0, RES_RATE_LIMITED, MOVE },
    { OPENAI, 501, NULL, 0, RES_SERVER_ERROR, MOVE|BLAMELESS },
    { OPENAI, 505, NULL, 0, RES_SERVER_ERROR, MOVE|BLAMELESS },
    { OPENAI, 525, NULL, 0, RES_CONNECT, MOVE },
    { OPENAI, 526, NULL, 0, RES_CONNECT, MOVE },
    { OPENAI, 429, NULL, 0, RES_RATE_LIMITED, 0 },
    { OPENAI, 503, NULL, 0, RES_OVERLOADED, 0 }
};


static void
test_answers(void)
{
    size_t               i;
    llm_answer_t         a;
    res_outcome_e        got;
    const answer_row_t  *row;

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        row = &answers[i];

        memset(&a, 0, sizeof(llm_answer_t));
        a.status = row->status;
        a.type = str("application/json");
        a.body = str(row->body ? row->body : "");
        a.whole = 1;
        a.own_key = !(row->flags & THEIRS);
        a.coded = (row->flags & CODED) != 0;

        got = row->dialect->classify(&a);

        is_str(res_outcome_name(got), res_outcome_name(row->want),
               "%s, %u %s", row->dialect->name.data, row->status,
               row->flags & CODED || row->body == NULL ? "" : row->body);
        is_int(row->dialect->advice(&a, got), row->advice, "and its advice");
    }
}


/* an error's body is read up to 16 KB */

static void
test_long_error(void)
{
    char          *body;
    llm_answer_t   a;

    static const char  head[] = "{\"error\":{\"x\":\"";
    static const char  tail[] = "\",\"code\":\"context_length_exceeded\"}}";

    memset(&a, 0, sizeof(llm_answer_t));
    a.status = 400;
    a.whole = 1;

    body = malloc(40000);

    if (body == NULL) {
        abort();
    }

    memset(body, 'x', 40000);
    memcpy(body, head, sizeof(head) - 1);

    strcpy(body + LLM_ERROR_BODY - sizeof(tail) + 1, tail);
    a.body = str(body);
    is_int(llm_dialect_openai.classify(&a), RES_CONTEXT_LENGTH,
           "the end of 16 KB is read");

    memset(body, 'x', 40000);
    memcpy(body, head, sizeof(head) - 1);

    strcpy(body + LLM_ERROR_BODY, tail);
    a.body = str(body);
    is_int(llm_dialect_openai.classify(&a), RES_CLIENT_ERROR,
           "what is behind them is not");

    free(body);
}


/*
 * Whole streams, an event a letter: noise, content, end, error, failed, last,
 * refused, denied.
 */

typedef struct {
    const llm_dialect_t  *dialect;
    const char           *what;
    const char           *want;
    const char           *text;
} stream_row_t;


#define CHUNK(text)                                                           \
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\","      \
    "\"created\":1,\"model\":\"m\"," text "}\n\n"

#define DELTA(text, finish)                                                   \
    CHUNK("\"choices\":[{\"index\":0,\"delta\":{" text "},\"logprobs\":null," \
          "\"finish_reason\":" finish "}]")

#define HELLO  DELTA("\"content\":\"Hello\"", "null")
#define DONE   "data: [DONE]\n\n"

#define PIECE(text, more)                                                     \
    "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"" text   \
    "\"}],\"role\": \"model\"}," more "\"index\": 0}],\"usageMetadata\": "    \
    "{\"promptTokenCount\": 4},\"modelVersion\": \"gemini\",\"responseId\": " \
    "\"x\"}\r\n\r\n"


static const stream_row_t  streams[] = {

    { AZURE, "Azure", "NNCCNUE",
      "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\","
      "\"object\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0,"
      "\"content_filter_results\":{\"hate\":{\"filtered\":false,"
      "\"severity\":\"safe\"}}}]}\n\n"
      DELTA("\"content\":\"\",\"role\":\"assistant\",\"refusal\":null",
            "null")
      CHUNK("\"choices\":[{\"content_filter_results\":{\"hate\":"
            "{\"filtered\":false}},\"delta\":{\"content\":\"Hello\"},"
            "\"finish_reason\":null,\"index\":0}]")
      DELTA("", "\"stop\"")
      "data: {\"choices\":[{\"content_filter_offsets\":{\"check_offset\":44},"
      "\"content_filter_results\":{},\"finish_reason\":null,\"index\":0}],"
      "\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\"}\n\n"
      CHUNK("\"choices\":[],\"usage\":{\"total_tokens\":3}")
      DONE },

    { OPENAI, "Groq fails", "NCFE",
      CHUNK("\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}],"
            "\"x_groq\":{\"id\":\"req_1\"}")
      HELLO
      CHUNK("\"choices\":[],\"x_groq\":{\"error\":\"over capacity\"}")
      DONE },

    { OPENAI, "DeepSeek waits, then has no resources", "CFE",
      ": keep-alive\n\n: keep-alive\n\n"
      HELLO
      DELTA("\"content\":\"\"", "\"insufficient_system_resource\"")
      DONE },

    { OPENAI, "Mistral's error", "CFE",
      HELLO DELTA("", "\"error\"") DONE },

    { OPENAI, "Together, Ollama", "CCE",
      HELLO DELTA("", "\"eos\"") DONE },

    { OPENAI, "OpenRouter", "CX",
      ": OPENROUTER PROCESSING\n\n"
      HELLO
      "data: {\"id\":\"gen-abc\",\"object\":\"chat.completion.chunk\","
      "\"provider\":\"OpenAI\",\"error\":{\"code\":502,\"message\":\"x\","
      "\"metadata\":{\"error_type\":\"provider_unavailable\"}},\"choices\":"
      "[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":"
      "\"error\"}]}\n\n" },

    { OPENAI, "vLLM, older", "CFE",
      HELLO
      "data: {\"object\":\"error\",\"message\":\"x\",\"type\":"
      "\"InternalServerError\",\"param\":null,\"code\":500}\n\n"
      DONE },

    { OPENAI, "llama.cpp", "CX",
      HELLO
      "data: {\"error\":{\"code\":500,\"message\":\"x\",\"type\":"
      "\"server_error\"}}\n\n" },

    { OPENAI, "responses, flat error", "NCX",
      "event: response.created\ndata: {\"type\":\"response.created\","
      "\"sequence_number\":0}\n\n"
      "event: response.output_text.delta\ndata: {\"type\":"
      "\"response.output_text.delta\",\"delta\":\"a\"}\n\n"
      "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\","
      "\"message\":\"x\",\"param\":null,\"sequence_number\":2}\n\n" },

    { ANTHROPIC, "a refusal", "NCRE",
      "event: message_start\ndata: {\"type\":\"message_start\",\"message\":"
      "{\"content\":[]}}\n\n"
      "event: content_block_delta\ndata: {\"type\":\"content_block_delta\","
      "\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"I\"}}\n\n"
      "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":"
      "{\"stop_reason\":\"refusal\",\"stop_details\":{\"type\":\"x\"}}}\n\n"
      "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n" },

    { GEMINI, "Gemini", "CCL",
      PIECE("Hel", "") PIECE("lo", "")
      PIECE("", "\"finishReason\": \"STOP\",") },

    { GEMINI, "Gemini, all at once", "L",
      PIECE("Hello", "\"finishReason\": \"MAX_TOKENS\",") },

    { GEMINI, "Gemini calls a function", "CL",
      "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":"
      "{\"name\":\"f\",\"args\":{}}}]}}]}\r\n\r\n"
      PIECE("", "\"finishReason\": \"STOP\",") },

    { GEMINI, "Gemini says nothing yet", "NNC",
      "data: {\"usageMetadata\":{\"promptTokenCount\":4}}\r\n\r\n"
      PIECE("", "\"finishReason\": null,")
      PIECE("a", "\"finishReason\": \"FINISH_REASON_UNSPECIFIED\",") },

    { GEMINI, "Gemini refuses", "D",
      "data: {\"promptFeedback\":{\"blockReason\":\"PROHIBITED_CONTENT\"},"
      "\"usageMetadata\":{}}\r\n\r\n" },

    { GEMINI, "Gemini fails", "CX",
      PIECE("a", "")
      "data: {\"error\":{\"code\":503,\"message\":\"x\",\"status\":"
      "\"UNAVAILABLE\"}}\r\n\r\n" },

    { GEMINI, "Gemini errs", "CF",
      PIECE("a", "") PIECE("", "\"finishReason\": \"MALFORMED_RESPONSE\",") },

    { GEMINI, "interactions", "NCE",
      "event: interaction.start\ndata: {\"event_type\":\"interaction.start\","
      "\"interaction\":{\"status\":\"in_progress\"}}\n\n"
      "event: content.delta\ndata: {\"event_type\":\"content.delta\","
      "\"delta\":{\"text\":\"a\"}}\n\n"
      "event: interaction.complete\ndata: {\"event_type\":"
      "\"interaction.complete\"}\n\n" },

    { GEMINI, "interactions fail", "X",
      "data: {\"event_type\":\"error\",\"error\":{\"code\":\"x\"}}\n\n" }
};


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


/* in a large buffer, and in one that makes digests of longer events */

static void
test_streams(void)
{
    int                  good;
    char                 log[64];
    size_t               i, k, len, size;
    llm_sse_t            s;
    unsigned char        buf[8192];
    const stream_row_t  *row;

    for (i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        row = &streams[i];
        len = strlen(row->text);

        for (size = 160; size <= sizeof(buf); size += sizeof(buf) - 160) {
            good = 1;

            for (k = 0; k <= len; k++) {
                log[0] = '\0';
                llm_sse_init(&s, buf, size);
                llm_sse_shorten(&s);

                read_piece(&s, row->dialect, row->text, k, log);
                read_piece(&s, row->dialect, row->text + k, len - k, log);

                if (size == sizeof(buf)) {
                    good &= strcmp(log, row->want) == 0;

                } else {
                    /* one that says nothing may pass for one that does */
                    good &= strlen(log) == strlen(row->want)
                            && strpbrk(log, "CLXFRD") != NULL;
                }
            }

            if (size == sizeof(buf)) {
                is_str(log, row->want, "stream: %s", row->what);
            }

            ok(good, "stream: %s, in pieces, buffer of %d", row->what,
               (int) size);
        }
    }
}


/* the end of a long event is seen, wherever it is split */

static void
test_digests(void)
{
    int        good;
    char       text[9000], log[64];
    size_t     i, k, len;
    llm_sse_t  s;
    unsigned char  buf[1024];

    static const char  head[] = "data: {\"candidates\":[{\"content\":{"
                                "\"parts\":[{\"text\":\"";
    static const char  tail[] = "\"}]},\"finishReason\":\"STOP\"}],"
                                "\"usageMetadata\":{}}\n\n";

    static const char *const  fill[] = {
        "x", "\\n", "\\\"", "\\u00e9", "\\ud83d\\ude00", "\xf0\x9f\x98\x80"
    };

    for (i = 0; i < sizeof(fill) / sizeof(fill[0]); i++) {

        strcpy(text, head);
        len = strlen(head);

        while (len < 5000) {
            len += (size_t) sprintf(text + len, "%s", fill[i]);
        }

        strcpy(text + len, tail);
        len = strlen(text);
        good = 1;

        for (k = 0; k <= len; k++) {
            log[0] = '\0';
            llm_sse_init(&s, buf, sizeof(buf));
            llm_sse_shorten(&s);

            read_piece(&s, GEMINI, text, k, log);
            read_piece(&s, GEMINI, text + k, len - k, log);

            good &= strcmp(log, "L") == 0;
        }

        ok(good, "a long event of %s, in pieces", fill[i]);
    }
}


typedef struct {
    const llm_dialect_t  *dialect;
    const char           *path;
    const char           *want;         /* NULL: none */
} model_row_t;


static const model_row_t  models[] = {
    { GEMINI, "/v1beta/models/gemini-3-pro:generateContent", "gemini-3-pro" },
    { GEMINI, "/v1/models/m:streamGenerateContent", "m" },
    { GEMINI, "/v1beta/models/m", "m" },
    { GEMINI, "/v1/projects/p/locations/l/publishers/google/models/m:x", "m" },
    { GEMINI, "/v1beta/models", NULL },
    { GEMINI, "/v1beta/models/", NULL },
    { GEMINI, "/v1beta/models/:x", NULL },
    { GEMINI, "/v1beta/openai/chat/completions", NULL },
    { GEMINI, "", NULL },
    { GEMINI, "/models", NULL },
    { AZURE, "/openai/deployments/gpt-5/chat/completions", "gpt-5" },
    { AZURE, "/openai/deployments/a:b", "a:b" },
    { AZURE, "/openai/deployments//x", NULL },
    { AZURE, "/openai/v1/chat/completions", NULL }
};


static void
test_models(void)
{
    int        found;
    char       got[64];
    size_t     i;
    llm_str_t  name;

    for (i = 0; i < sizeof(models) / sizeof(models[0]); i++) {

        found = models[i].dialect->model(str(models[i].path), &name);

        snprintf(got, sizeof(got), "%.*s", found ? (int) name.len : 1,
                 found ? (const char *) name.data : "-");
        is_str(got, models[i].want ? models[i].want : "-", "model of %s",
               models[i].path);
    }
}


static void
test_table(void)
{
    is_str(llm_dialect_gemini.url, "https://generativelanguage.googleapis.com",
           "Gemini's url");
    is_str(llm_dialect_gemini.key_header, "x-goog-api-key", "its key's header");
    is_str(llm_dialect_gemini.key_prefix, "", "and prefix");
    is_str(llm_dialect_gemini.key_arg, "key", "and argument");
    ok(llm_dialect_azure.url == NULL, "Azure has no url for all");
    is_str(llm_dialect_azure.key_header, "api-key", "its key's header");
    is_str(llm_dialect_azure.key_prefix, "", "and prefix");
}


static void
test_errors(void)
{
    size_t         len;
    llm_str_t      body;
    llm_event_t    e;
    llm_stream_t   stream;
    unsigned char  out[1024];

    len = llm_dialect_none.error_body(out, 503, "breaker_open", "a \"b\"");
    out[len] = '\0';

    is_int(llm_dialect_none.error_body(NULL, 503, "breaker_open", "a \"b\""),
           len, "a problem's length");
    is_str((char *) out, "{\"type\":\"about:blank\",\"title\":\"Service "
           "Unavailable\",\"status\":503,\"detail\":\"a \\\"b\\\"\",\"code\":"
           "\"breaker_open\"}", "a problem");

    len = llm_dialect_none.error_body(out, 599, "x", "");
    body.data = out;
    body.len = len;
    ok(llm_json_valid(body), "a problem of any status");

    len = llm_dialect_gemini.error_body(out, 504, "timeout", "late");
    out[len] = '\0';
    is_str((char *) out, "{\"error\":{\"code\":504,\"message\":\"late\","
           "\"status\":\"DEADLINE_EXCEEDED\",\"details\":[{\"@type\":"
           "\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":"
           "\"timeout\",\"domain\":\"ngx_http_resilience_module\"}]}}",
           "Gemini's error");

    /* Responses */

    memset(&stream, 0, sizeof(llm_stream_t));
    memset(&e, 0, sizeof(llm_event_t));

    e.name = str("");
    e.data = str("{\"sequence_number\":3}");
    llm_dialect_openai.follow(&stream, &e);
    is_int(stream.numbered, 0, "chat has no numbers");

    e.name = str("response.created");
    e.data = str("{\"type\":\"response.created\"}");
    llm_dialect_openai.follow(&stream, &e);
    is_int(stream.numbered, 1, "responses have");
    is_int(stream.sequence, 1, "they are counted");

    e.name = str("response.x");
    e.data = str("{\"sequence_number\":41}");
    llm_dialect_openai.follow(&stream, &e);
    is_int(stream.sequence, 42, "and read");

    e.data = str("{\"sequence_number\":-41}");
    llm_dialect_openai.follow(&stream, &e);
    is_int(stream.sequence, 43, "unless they are none");

    len = llm_dialect_openai.error_event(out, &stream, 502, "stream_dropped",
                                         "gone");
    out[len] = '\0';
    is_str((char *) out, "event: error\ndata: {\"type\":\"error\",\"code\":"
           "\"stream_dropped\",\"message\":\"gone\",\"param\":null,"
           "\"sequence_number\":43,\"error\":{\"message\":\"gone\",\"type\":"
           "\"upstream_error\",\"param\":null,\"code\":\"stream_dropped\"}}"
           "\n\n", "the error that ends them");
}


int
main(void)
{
    test_table();
    test_models();
    test_answers();
    test_long_error();
    test_streams();
    test_digests();
    test_errors();

    return done_testing();
}
