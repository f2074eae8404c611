-- A stream as it passes, event by event: what its events say of the answer, and the one that the router asked for in
-- the client's place, which is not passed on. Everything else leaves as it came.
--
-- An event that is cut in two waits for its end where it might be that one; none that is longer than `LONGEST` is. What
-- a model says is never taken for a sign: in a string of JSON, line breaks and quotes are escaped.
local usage = require "usage"

local stream = {}
local LONGEST, OVERLAP = 65536, 64
local LINE_FEED, RETURN, SPACE, COLON, QUOTE, OBJECT, LETTER_D = 10, 13, 32, 58, 34, 123, 100
local FINISHED, USAGE = '"finish_reason"', '"usage"'
-- The ends of the keys under which something of an answer comes.
local CONTENT = {
  chat = { 'content"', 'reasoning"', 'arguments"' },
  completions = { 'text"' },
  responses = { 'delta"' },
}
local ENDS = { ["response.completed"] = true, ["response.incomplete"] = true }
local FAILURES = { ["error"] = true, ["response.failed"] = true }

-- Where the event ends that begins at `from`: its empty line; nil where that has not come.
local function end_of_event(text, from)
  while true do
    local line = text:find("\n", from, true)
    if not line then return nil end
    local following = text:byte(line + 1)
    if following == LINE_FEED then return line + 1 end
    if following == RETURN and text:byte(line + 2) == LINE_FEED then return line + 2 end
    from = line + 1
  end
end

-- Behind the blank lines and comments that begin at `from`: they are no event's.
local function skip_lines(text, from)
  while true do
    local byte, line = text:byte(from), nil
    if byte == LINE_FEED then line = from end
    if byte == RETURN and text:byte(from + 1) == LINE_FEED then line = from + 1 end
    if byte == COLON then line = text:find("\n", from, true) end
    if not line then return from end
    from = line + 1
  end
end

local function skip_blanks(text, at)
  while text:byte(at) == SPACE do at = at + 1 end
  return at
end

-- The first byte, and where it is, of the value behind the next key that ends with `sign`, from `from` on.
local function value_of(text, sign, from)
  local _, last = text:find(sign, from, true)
  if not last then return nil end
  local colon = skip_blanks(text, last + 1)
  if text:byte(colon) ~= COLON then return 0, colon end
  local first = skip_blanks(text, colon + 1)
  return text:byte(first), first
end

-- Whether a `finish_reason` stands in the text, and whether it is `abort`.
function stream.finish(text)
  local finished, aborted, from = false, false, 1
  while true do
    local byte, at = value_of(text, FINISHED, from)
    if not at then return finished, aborted end
    local reason = byte == QUOTE and text:match('^"([%w_]+)"', at)
    finished, aborted, from = finished or reason ~= nil and reason ~= false, aborted or reason == "abort", at
  end
end

local function has_content(kind, text)
  for _, sign in ipairs(CONTENT[kind]) do
    local from = 1
    while from do
      local byte, at = value_of(text, sign, from)
      if byte == QUOTE and text:byte(at + 1) ~= QUOTE then return true end
      from = at
    end
  end
  return false
end

local function name_of(event)
  if event:byte(1) == LETTER_D and not event:find("\nevent:", 1, true) then return nil end
  return event:match("^%s*event: ?([^\r\n]*)") or event:match("\nevent: ?([^\r\n]*)")
end

-- What begins of an event, whole or not; where its data begins, and its name.
local function begin(seen, event)
  local name, data = name_of(event), event:find("data:", 1, true)
  data = data and skip_blanks(event, data + 5)
  seen.failed = seen.failed or FAILURES[name] or data and event:sub(data, data + 7) == '{"error"'
  if seen.kind == "responses" then seen.finished = seen.finished or ENDS[name] end
  if not data or not has_content(seen.kind, event) then return data, name end
  seen.first, seen.last, seen.chunks = seen.first or seen.now, seen.now, seen.chunks + 1
  return data, name
end

local function note_finish(seen, text)
  if seen.kind == "responses" then return end
  local finished, aborted = stream.finish(text)
  if finished then seen.last, seen.finished = seen.now, true end
  seen.failed = seen.failed or aborted
end

-- Whether the data must be read: it counts tokens, or it is the first and has the answer's id.
local function is_read(seen, event, data)
  if event:byte(data) ~= OBJECT then return false end
  if not seen.is_begun then
    seen.is_begun = true
    return true
  end
  local from = data
  while from do
    local byte, at = value_of(event, USAGE, from)
    if byte == OBJECT then return true end
    from = at
  end
  return false
end

-- A whole event; whether it counts tokens and says nothing else.
local function look(seen, event)
  local data = begin(seen, event)
  if not data then return false end
  note_finish(seen, event)
  if not is_read(seen, event, data) then return false end
  local reader = usage.reader(seen.kind, true)
  reader:feed(data == 1 and event or event:sub(data))
  return reader:tell(seen)
end

-- An event that is too long to be kept begins.
local function begin_long(seen, text)
  local data = begin(seen, text)
  note_finish(seen, text)
  seen.reader, seen.tail = usage.reader(seen.kind, true), text:sub(-OVERLAP)
  seen.reader:feed(text:sub(data or 1))
end

-- It goes on; where it ends in this piece, or nil.
local function go_on_long(seen, piece, is_over)
  local text, before = seen.tail .. piece, #seen.tail
  local stop = end_of_event(text, before - 1) or is_over and #text or nil
  local more = stop and text:sub(1, stop) or text
  note_finish(seen, more)
  seen.reader:feed(more:sub(before + 1))
  seen.tail = text:sub(-OVERLAP)
  if not stop then return nil end
  seen.reader:tell(seen)
  seen.reader, seen.tail = nil, nil
  return stop - before
end

-- What passes on of a piece; `is_over` says that nothing follows.
function stream.pass(seen, piece, is_over)
  local from = 1
  if seen.reader then
    local stop = go_on_long(seen, piece, is_over)
    if not stop or stop == #piece then return piece end
    from = stop + 1
  end
  local held = seen.held
  local text, passed, passed_to = held and held .. piece or piece, "", 0
  while from <= #text do
    from = skip_lines(text, from)
    local stop = from <= #text and (end_of_event(text, from) or is_over and #text)
    if not stop then break end
    local is_usage = look(seen, from == 1 and stop == #text and text or text:sub(from, stop))
    if is_usage and seen.withholds then passed, passed_to = passed .. text:sub(passed_to + 1, from - 1), stop end
    from = stop + 1
  end
  held = from <= #text and text:sub(from) or nil
  if held and #held > LONGEST then
    begin_long(seen, held)
    held, from = nil, #text + 1
  end
  seen.held = held
  if not seen.withholds then return piece end
  return passed .. text:sub(passed_to + 1, from - 1)
end

return stream
