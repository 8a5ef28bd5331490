
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "answer.h"


/*
 * No dialect: any HTTP API.  The status says it all, and an answer commits at
 * its header.  gRPC's own status goes with an HTTP status that is always 200.
 */


static res_outcome_e
none_classify(const llm_answer_t *a)
{
    if (a->status == 200 && a->grpc) {
        return res_outcome_grpc(a->grpc, a->own_key);
    }

    return res_outcome_status(a->status, a->own_key);
}


/* the phrases of RFC 9110, 15, that a title has to be */

static const llm_error_type_t  none_titles[] = {
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 402, "Payment Required" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 408, "Request Timeout" },
    { 409, "Conflict" },
    { 413, "Content Too Large" },
    { 429, "Too Many Requests" },
    { 500, "Internal Server Error" },
    { 501, "Not Implemented" },
    { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" },
    { 0, NULL }
};


/* RFC 9457 */

static size_t
none_error_body(unsigned char *buf, unsigned status, const char *code,
    const char *message)
{
    llm_out_t    out = { buf, 0 };
    const char  *title;

    title = llm_error_type(none_titles, status);

    if (title == NULL) {
        title = (status < 500) ? "Client Error" : "Server Error";
    }

    llm_out_text(&out, "{\"type\":\"about:blank\",\"title\":\"");
    llm_out_json(&out, title);
    llm_out_text(&out, "\",\"status\":");
    llm_out_number(&out, status);
    llm_out_text(&out, ",\"detail\":\"");
    llm_out_json(&out, message);
    llm_out_text(&out, "\",\"code\":\"");
    llm_out_json(&out, code);
    llm_out_text(&out, "\"}");

    return out.len;
}


const llm_dialect_t  llm_dialect_none = {
    .name = llm_string("none"),
    .key_header = "authorization",
    .key_prefix = "Bearer ",
    .classify = none_classify,
    .error_body = none_error_body,
    .error_type = llm_string("application/problem+json")
};
