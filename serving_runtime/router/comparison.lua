-- One copy of a request: asked of a challenger, and its answer held against what the control said. Both are forgotten;
-- what is recorded of it is a line of numbers.
local ffi = require "ffi"
local cjson = require "cjson.safe"
local agreement = require "agreement"
local body = require "body"
local client = require "client"
local held = require "held"
local metrics = require "metrics"
local peers = require "peers"
local records = require "records"
local said = require "said"
local stream = require "stream"
local usage = require "usage"

local comparison = { LONGEST_ANSWER = 256 * 1024 }
local LOOKED_FOR, OPENED = { model = true, ["response_format.type"] = true }, { response_format = true }
local FORMATS = { json_object = true, json_schema = true }

-- The body with the challenger's own name for the model, and whether JSON was asked for.
local function asked_of(copy)
  local scanner, text = body.scanner(LOOKED_FOR, OPENED), copy.body:text()
  scanner:feed(ffi.cast("const uint8_t *", text), #text)
  local found = assert(scanner:finish()) -- it was read before
  local model, form = found.model, found["response_format.type"]
  local whole = text:sub(1, model.first) .. cjson.encode(copy.to.model) .. text:sub(model.last + 1)
  return whole, form ~= nil and form.text ~= nil and FORMATS[body.value(form.text)] or false
end

-- What takes the pieces of an answer, and notes in `answer` what the router notes of others.
local function noting(answer)
  return function(piece, status, streams)
    answer.status = status
    if status ~= 200 then return false end -- its status says all: it may have no end
    answer.now, answer.streams = ngx.now(), streams
    if streams then
      stream.pass(answer, piece, false)
    elseif piece ~= "" then
      answer.first, answer.last = answer.first or answer.now, answer.now
      answer.counter = answer.counter or usage.reader(answer.kind, false)
      answer.counter:feed(piece)
    end
    return answer.bytes:add(piece)
  end
end

-- `complete`; `error` where its status says what it was; `timeout`; `long` and `left`, which the router did not wait for,
-- as it was too long, or the router ends; else `broken`.
local function outcome_of(answer, text, problem)
  if answer.is_long then return "long" end
  if problem == "ending" then return "left" end
  if problem == "timeout" then return "timeout" end
  if answer.status and answer.status ~= 200 then return "error" end
  if problem or not answer.status then return "broken" end
  if answer.streams then
    stream.pass(answer, "", true)
  elseif answer.kind == "responses" then
    answer.finished = true
  else
    answer.finished, answer.failed = stream.finish(text)
  end
  return answer.finished and not answer.failed and "complete" or "broken"
end

local function ask(copy, whole)
  local answer = { kind = copy.kind, chunks = 0, bytes = held.of(comparison.LONGEST_ANSWER) }
  local to, peer = copy.to, copy.to.peer
  to.body, to.id, answer.at = whole, copy.exposure .. "-shadow", ngx.now()
  peers.begin(peer)
  local done, status, problem = pcall(client.ask, to, copy.split.shadow.seconds, noting(answer))
  peers.finish(peer) -- whatever became of it says nothing of the pod
  local text = answer.bytes:text()
  answer.is_long = answer.bytes.is_left
  answer.bytes:leave()
  if not done then error(status, 0) end
  answer.outcome = outcome_of(answer, text, not status and problem or nil)
  if answer.counter then answer.counter:tell(answer) end
  if answer.streams and not answer.counted then answer.completion_tokens = answer.chunks end
  return answer, text
end

local function since(start, time)
  return time and math.max(0, math.floor((time - start) * 1000 + 0.5) / 1000) or nil
end

local function compare(told, copy, text, streams, wants_json)
  local ours, theirs = said.text(text, streams), said.text(copy.answer:text(), copy.control.streams)
  told.equal, told.similarity = ours == theirs, agreement.similarity(ours, theirs)
  if wants_json then
    told.json, told.controlJson = agreement.is_json(ours), agreement.is_json(theirs)
  end
end

-- Ask and compare; raises where that cannot be done.
function comparison.make(copy)
  local whole, wants_json = asked_of(copy)
  local who = { model = copy.model, version = copy.variant.target, variant = copy.variant.name }
  metrics.begin(who)
  local done, answer, text = pcall(ask, copy, whole)
  metrics.over(who)
  if not done then error(answer, 0) end
  local control = copy.control
  local told = {
    experiment = copy.split.uid, variant = who.variant, version = who.version, model = who.model, at = answer.at,
    outcome = answer.outcome, stream = control.streams and answer.streams or nil,
    first = since(answer.at, answer.first), last = since(answer.at, answer.last), tokens = answer.completion_tokens,
    controlFirst = control.first, controlLast = control.last, controlTokens = control.tokens,
  }
  if answer.outcome == "left" then return end
  who.outcome = answer.outcome
  metrics.count("shadow_requests_total", who)
  if answer.outcome == "complete" then compare(told, copy, text, answer.streams, wants_json) end
  records.add('{"shadow":' .. cjson.encode(told) .. "}")
end

return comparison
