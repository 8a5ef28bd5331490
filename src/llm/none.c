
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "dialect.h"


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


const llm_dialect_t  llm_dialect_none = {
    .name = llm_string("none"),
    .key_header = "authorization",
    .key_prefix = "Bearer ",
    .classify = none_classify
};
