-- What of OpenAI's and vLLM's interface is passed on, and what is refused by name.
local cjson = require "cjson.safe"

local surface = {}

-- Paths that a model answers. `counts` says whether an answer counts for an experiment; `text` is the field by which it
-- goes where its beginning may be remembered.
surface.paths = {
  ["/v1/chat/completions"] = { kind = "chat", counts = true, text = "messages" },
  ["/v1/completions"] = { kind = "completions", counts = true, text = "prompt" },
  ["/v1/responses"] = { kind = "responses", counts = true, text = "input" },
  ["/v1/embeddings"] = { kind = "embeddings", counts = true },
  ["/tokenize"] = { kind = "tokenize", counts = false },
  ["/detokenize"] = { kind = "detokenize", counts = false },
  -- What the task API alone asks (tasks.lua): how likely an answer was, of the version that gave it, by its name.
  ["/tasks/confidence"] = { kind = "confidence", counts = false, is_ours = true, asked_at = "/v1/completions" },
}

local SHARED = "it would act on what other users share"
local COSTLY = "it would cost other users their answers' speed"
local UNKEPT = "responses are not kept here"
local ALWAYS = {
  priority = "all requests are equal",
  vllm_xargs = SHARED,
  kv_transfer_params = SHARED,
  ec_transfer_params = SHARED,
  request_id = "the router names requests",
  session_id = SHARED,
  cache_salt = SHARED,
  return_prompt_text = "the prompt is not told",
  prompt_logprobs = COSTLY,
  echo = COSTLY,
  ["structured_outputs.regex"] = COSTLY .. "; ask for a `json` schema or a `choice`",
  ["structured_outputs.grammar"] = COSTLY .. "; ask for a `json` schema or a `choice`",
  ["structured_outputs.structural_tag"] = COSTLY .. "; ask for a `json` schema or a `choice`",
  ["response_format.type"] = COSTLY .. "; ask for a `json_schema`",
}
-- What is refused for this value alone.
local ONLY = { ["response_format.type"] = "structural_tag" }
local RESPONSES = {
  store = UNKEPT .. "; leave it out, or say false",
  background = UNKEPT .. "; ask for a stream",
  previous_response_id = UNKEPT .. "; send the conversation in `input`",
  conversation = UNKEPT .. "; send the conversation in `input`",
}
local UNSAID = { ["null"] = true, ["false"] = true }
-- The engine takes "true", 1 and "on" for true, too; of a stream that begins so nothing would be counted.
local TRUTHS, PLAIN = { ["true"] = true, ["null"] = true, ["false"] = true }, { "stream", "stream_options.include_usage" }

surface.opened = { structured_outputs = true, response_format = true, stream_options = true }
local NAMING = { user = true, safety_identifier = true } -- ab_experiment.py says so, too
local COUNTED = {
  stream = true,
  stream_options = true,
  ["stream_options.include_usage"] = true,
  ["stream_options.continuous_usage_stats"] = true,
}

local function names(...)
  local all = { model = true }
  for _, fields in ipairs({ ... }) do
    for name in pairs(fields) do all[name] = true end
  end
  return all
end

-- A path's own fields, beside those that are refused always.
local OF_KIND = { responses = RESPONSES }

setmetatable(RESPONSES, { __index = ALWAYS })
for _, path in pairs(surface.paths) do
  path.refused = path.is_ours and {} or OF_KIND[path.kind] or ALWAYS
  path.asks_usage = path.kind == "chat" or path.kind == "completions" -- other streams tell their tokens unasked
  path.wanted = names(ALWAYS, OF_KIND[path.kind] or {}, path.asks_usage and COUNTED or {})
  path.naming = names(path.wanted, NAMING) -- where a user may be named in the body
  for _, wanted in ipairs { path.wanted, path.naming } do
    if path.text then wanted[path.text] = "turns" end
  end
end

local function is_refused(path, name, value)
  if not path.refused[name] or UNSAID[value.text] then return false end
  return not ONLY[name] or value.text ~= nil and (cjson.decode("[" .. value.text .. "]") or {})[1] == ONLY[name]
end

-- The first field, by name, that is not taken, and why; nil where all are.
function surface.refused(path, found)
  for _, name in ipairs(PLAIN) do
    if found[name] and not TRUTHS[found[name].text] then return name, "`" .. name .. "` is true or false" end
  end
  local refused
  for name, value in pairs(found) do
    if is_refused(path, name, value) and (not refused or name < refused) then refused = name end
  end
  return refused, refused and "`" .. refused .. "` is not taken: " .. path.refused[refused]
end

return surface
