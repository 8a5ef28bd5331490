
/*
 * OpenAI's dialect, for those that differ from it only in where things are.
 */


#ifndef LLM_OPENAI_H_INCLUDED
#define LLM_OPENAI_H_INCLUDED


#include "dialect.h"


res_outcome_e llm_openai_classify(const llm_answer_t *a);
llm_event_e llm_openai_event(const llm_event_t *e, res_outcome_e *outcome);
void llm_openai_follow(llm_stream_t *stream, const llm_event_t *e);

extern const char *const         llm_openai_usage_names[];
extern const llm_bound_member_t  llm_openai_bound_members[];
extern const char *const         llm_openai_bound_paths[];

void llm_openai_usage(llm_str_t value, llm_usage_t *u);
size_t llm_openai_ask_usage(unsigned char *buf, llm_str_t path,
    llm_str_t options);

size_t llm_openai_error_body(unsigned char *buf, unsigned status,
    const char *code, const char *message);
size_t llm_openai_error_event(unsigned char *buf, const llm_stream_t *stream,
    unsigned status, const char *code, const char *message);


#endif /* LLM_OPENAI_H_INCLUDED */
