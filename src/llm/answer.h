
/*
 * What the dialects share: looking into answers, events and errors, and
 * writing errors.
 */


#ifndef LLM_ANSWER_H_INCLUDED
#define LLM_ANSWER_H_INCLUDED


#include "dialect.h"


#define LLM_ERROR_TEXT  512        /* bytes of a message that are looked at */
#define LLM_ERROR_NONE  -1         /* of no known class */


/* Tables end with NULL. */

typedef struct {
    const char           *name;
    res_outcome_e         outcome;
} llm_error_name_t;

typedef struct {
    const char           *name;
    llm_event_e           kind;
} llm_event_name_t;

/* This one ends with status 0, which stands for any other. */

typedef struct {
    unsigned              status;
    const char           *type;
} llm_error_type_t;


/*
 * A 2xx answer, as far as one can tell without its dialect.  *json: it holds
 * a well-formed text that the dialect has to look into.
 */
res_outcome_e llm_answer_success(const llm_answer_t *a, int *json);

/*
 * The kind of an event, by the "type" in its data if that one is in the table,
 * else by its name; LLM_EVENT_CONTENT if it is unknown.
 */
llm_event_e llm_event_kind(const llm_event_name_t *names, const llm_event_t *e,
    llm_str_t type);

/* Does a JSON value say anything, or is it missing, null, false or empty? */
int llm_answer_says(llm_str_t value);


/* What an answer of any LLM API says of the next attempt. */
unsigned llm_answer_advice(const llm_answer_t *a, res_outcome_e outcome);

/* As much of an error's body as is looked at, without white space around. */
llm_str_t llm_error_text(const llm_answer_t *a);

/* The class of an HTTP status of an LLM API. */
res_outcome_e llm_error_status(unsigned status, int own_key);

/* A number of three digits that is the status of an error, or 0. */
unsigned llm_error_number(llm_str_t value);

/* The class of that name, a JSON string; or LLM_ERROR_NONE. */
int llm_error_named(const llm_error_name_t *names, llm_str_t value);

/*
 * The class of an error whose status says "outcome" and whose names say
 * "named"; if those say little, the words of its message are asked, but none
 * in quotation marks, which may be the client's.  Only the classes in the set
 * "finer" may take the status' place.
 */
res_outcome_e llm_error_refine(res_outcome_e outcome, int named,
    llm_str_t message, uint32_t finer);

/*
 * The class that the status and the details of a google.rpc.Status give, or
 * LLM_ERROR_NONE.
 */
int llm_google_error(llm_str_t error);

/* A provider's name for what a status means. */
const char *llm_error_type(const llm_error_type_t *types, unsigned status);


/*
 * The segment of a path behind "before", up to one of the characters of "ends"
 * or the path's end.  Returns 1 if there is one that is not empty.
 */
int llm_path_segment(llm_str_t path, const char *before, const char *ends,
    llm_str_t *segment);


/* Writes, or with buf == NULL only counts. */

typedef struct {
    unsigned char        *buf;
    size_t                len;
} llm_out_t;

void llm_out_text(llm_out_t *out, const char *text);
void llm_out_number(llm_out_t *out, uint64_t n);

void llm_out_bytes(llm_out_t *out, llm_str_t text);

/* The same as the inside of a JSON string. */
void llm_out_json(llm_out_t *out, const char *text);


#endif /* LLM_ANSWER_H_INCLUDED */
