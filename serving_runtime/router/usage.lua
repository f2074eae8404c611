-- What an answer says of itself at the top of its JSON: its id, and how many tokens it took. It is looked for by its
-- place, as what a model says, or a tool's schema that is repeated, may have keys of the same names; and in pieces, as
-- answers may be large. It hops from quote to quote, which is much cheaper than what body.lua does: the grammar is not
-- checked, as an answer comes from a server of ours, and passes as it is.
local ffi = require "ffi"
local cjson = require "cjson.safe"

local usage = {}
local Reader = {}
Reader.__index = Reader

local INNER = "response" -- of a stream of /v1/responses, what is told of an answer lies under this key
local LONGEST_KEY, LONGEST_VALUE, LONGEST_CARRIED = 9, 2048, 64
local MOST_TOKENS, LONGEST_ID = 2 ^ 31, 256
local QUOTE, BACKSLASH, COLON, OBJECT, LIST = 34, 92, 58, 123, 91
local STEP, BLANK = ffi.new("int8_t[256]"), ffi.new("bool[256]")
STEP[OBJECT], STEP[LIST], STEP[125], STEP[93] = 1, 1, -1, -1
BLANK[32], BLANK[9], BLANK[10], BLANK[13] = true, true, true, true
local ANSWER, CHUNK = { id = true, usage = true }, { id = true, usage = true, choices = true }

-- A reader of one JSON object: a whole answer, or, of a stream, one event's.
function usage.reader(kind, streams)
  local inner = kind == "responses" and streams
  return setmetatable({
    wanted = streams and not inner and CHUNK or ANSWER, inner = inner, level = 1, depth = 0, in_string = false,
    skip = 0, carried = nil, name = nil, held = "", found = {},
  }, Reader)
end

-- Where the string ends that begins before `from`: the place of its quote, or nil and how many bytes of the next piece
-- are escaped by this one's last.
local function end_of_string(text, bytes, from)
  local at = from
  while true do
    local quote = text:find('"', at + 1, true)
    local stop = quote and quote - 1 or #text
    local before = stop
    while before > from and bytes[before - 1] == BACKSLASH do before = before - 1 end
    local is_escaped = (stop - before) % 2 == 1
    if not quote then return nil, is_escaped and 1 or 0 end
    if not is_escaped then return stop end
    at = stop + 1
  end
end

local function first_of(bytes, at, length)
  while at < length and BLANK[bytes[at]] do at = at + 1 end
  return at
end

-- Where the value begins whose key ends before `at`; nil where that is no key, false where the next piece tells.
local function value_after(bytes, at, length)
  local colon = first_of(bytes, at, length)
  if colon < length and bytes[colon] ~= COLON then return nil end
  local value = first_of(bytes, colon + 1, length)
  return value < length and value
end

-- The value that is being kept ends before `stop`.
local function keep(self, bytes, stop)
  if #self.held + stop - self.from <= LONGEST_VALUE then
    self.found[self.name] = self.held .. ffi.string(bytes + self.from, stop - self.from)
  end
  self.name = nil
end

-- The object or list that is being kept ends between two strings, of which the first ends before `at`.
local function close(self, bytes, at, depth)
  repeat
    local step = STEP[bytes[at]]
    depth, at = depth + step, at + 1
  until step < 0 and depth == self.level
  keep(self, bytes, at)
end

-- A string at the level of what is wanted, from one quote to the other; false where more must come to know what it is.
local function look(self, bytes, start, stop, length)
  local name = ffi.string(bytes + start + 1, stop - start - 1)
  local is_outer = self.inner and self.level == 1
  if is_outer and name ~= INNER or not is_outer and not self.wanted[name] then return true end
  local value = value_after(bytes, stop + 1, length)
  if not value then return value == nil end
  local first = bytes[value]
  if is_outer then
    self.level = first == OBJECT and 2 or 1
  elseif first == QUOTE or first == OBJECT or first == LIST then
    self.name, self.held, self.from, self.is_text = name, "", value, first == QUOTE
  end
  return true
end

-- The piece ends: what may be wanted of it stays.
local function leave(self, text, start, is_known)
  if self.name then
    self.held = self.held .. text:sub(self.from + 1, self.from + LONGEST_VALUE + 1 - #self.held)
  elseif start >= 0 and not is_known and #text - start <= LONGEST_CARRIED then -- it is read again, with what follows
    self.carried, self.in_string, self.skip = text:sub(start + 1), false, 0
  end
end

-- Take the next piece of it.
function Reader:feed(text)
  if text == "" then return end
  if self.carried then text, self.carried = self.carried .. text, nil end
  local bytes, length = ffi.cast("const uint8_t *", text), #text
  local at, depth, start, is_known = self.skip, self.depth, -1, true
  self.from, self.skip = 0, 0
  while at < length and is_known do
    if not self.in_string then
      local quote = text:find('"', at + 1, true)
      local stop, before = quote and quote - 1 or length, depth
      for i = at, stop - 1 do depth = depth + STEP[bytes[i]] end
      if self.name and not self.is_text and depth <= self.level then close(self, bytes, at, before) end
      if depth < self.level then self.level = 1 end
      start, at, self.in_string = quote and stop or -1, stop + 1, quote ~= nil
    else
      local stop, skip = end_of_string(text, bytes, at)
      if not stop then
        self.skip = skip
        break
      end
      self.in_string = false
      if depth == self.level and self.name then
        keep(self, bytes, stop + 1)
      elseif depth == self.level and start >= 0 and stop - start <= LONGEST_KEY then
        is_known = look(self, bytes, start, stop, length)
      end
      at = stop + 1
    end
  end
  self.depth = depth
  leave(self, text, start, is_known and not (self.in_string and depth == self.level))
end

local function count(counted, name, other)
  local tokens = counted[name] or counted[other]
  return type(tokens) == "number" and tokens >= 0 and tokens < MOST_TOKENS and tokens % 1 == 0 and tokens or nil
end

-- What was found, put into `seen`; whether that is a count of tokens, and no choice beside it.
function Reader:tell(seen)
  local found = self.found
  local id = found.id
  if id and id:find("\\", 1, true) then
    id = (cjson.decode("[" .. id .. "]") or {})[1]
  else
    id = id and id:byte(1) == QUOTE and id:sub(2, -2)
  end
  if type(id) == "string" and id ~= "" and #id <= LONGEST_ID then seen.completion = id end
  local counted = found.usage and cjson.decode(found.usage)
  if type(counted) ~= "table" then return false end
  seen.prompt_tokens = count(counted, "prompt_tokens", "input_tokens") or seen.prompt_tokens
  seen.completion_tokens = count(counted, "completion_tokens", "output_tokens") or seen.completion_tokens
  seen.counted = "usage"
  return found.choices ~= nil and found.choices:find("^%[%s*%]$") ~= nil
end

return usage
