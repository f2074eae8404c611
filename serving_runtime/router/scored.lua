-- For an experiment that measures what answers are worth: which of them are handed to the scorer, when the client has its
-- answer and nothing waits for this. Which variant answered is not told.
--
-- All of it is bounded: how many are on their way at once, how long one takes, and what is held of answers.
-- What is beyond that is dropped, and counted; nothing is sent again. Texts are held in memory alone.
local cjson = require "cjson.safe"
local assignment = require "assignment"
local client = require "client"
local held = require "held"
local keys = require "keys"
local metrics = require "metrics"

local scored = {}
local LONGEST_ANSWER = 256 * 1024
local MOST_AT_ONCE, SECONDS, SHARE = 16, 5, 100 -- of a worker; buckets in a percent
local SAID = { chat = true, completions = true, responses = true } -- what has words
local at_once = 0

local function drop(copy, reason)
  copy.answer:leave()
  metrics.count("scored_dropped_total", { model = copy.model, reason = reason })
end

-- Whether an answer is of the sample, which follows from its id alone: what is answered is held from here on, in
-- `seen.scored.answer`. The scorer computes the same (desk.py).
function scored.sample(split, seen)
  if not SAID[seen.kind] then return end
  local place = assignment.places("scores/" .. split.uid .. ":", seen.exposure)
  if place >= split.scores.percent * SHARE then return end
  seen.scored = { split = split, model = seen.model, answer = held.of(LONGEST_ANSWER) }
end

-- What keeps an answer from being handed on; nothing where it may be.
local function objection(copy, seen)
  if seen.outcome ~= "complete" then return "incomplete" end
  if copy.answer.is_left then return "large" end
  if at_once >= MOST_AT_ONCE then return "busy" end
end

local function hand_on(copy)
  local to = copy.split.scores
  local told = cjson.encode {
    experiment = copy.split.uid, exposure = copy.exposure, kind = copy.kind, stream = copy.streams or false,
    answer = copy.answer:text(),
  }
  local asked = {
    address = to.host, port = to.port, host = to.host .. ":" .. to.port, uri = "/answers", id = copy.exposure,
    key = keys.admin, body = told,
  }
  local status = client.ask(asked, SECONDS, function() return true end)
  if status ~= 200 then return drop(copy, "away") end
  metrics.count("scored_total", { model = copy.model })
end

local function run(premature, copy)
  if premature then
    drop(copy, "ending")
  else
    local done, problem = pcall(hand_on, copy)
    if not done then ngx.log(ngx.ERR, "an answer could not be handed on: ", problem) end
    copy.answer:leave()
  end
  at_once = at_once - 1
end

-- The client has its answer.
function scored.follow(seen)
  local copy = seen.scored
  if not copy then return end
  local reason = objection(copy, seen)
  if reason then return drop(copy, reason) end
  copy.kind, copy.exposure, copy.streams = seen.kind, seen.exposure, seen.streams
  at_once = at_once + 1
  if ngx.timer.at(0, run, copy) then return end
  at_once = at_once - 1
  drop(copy, "ending")
end

return scored
