-- Finding the top-level keys of a request's JSON object without decoding it: one pass over its bytes, in pieces, in
-- memory that does not grow with the body. Decoding and encoding again would turn empty lists into objects, round large
-- numbers and hold the body several times.
--
-- All of JSON's grammar is checked, and that no key of the object is there twice: where two parsers may disagree about
-- what stands in a body, one asks for a model and the other answers with another.
local ffi = require "ffi"
local cjson = require "cjson.safe"

local body = {}
local Scanner = {}
Scanner.__index = Scanner

local DEEPEST, MOST_KEYS, LONGEST_KEY, LONGEST_TEXT = 256, 256, 128, 1024
-- What may come next; from STRING on, inside of something.
local START, KEY, FIRST_KEY, COLON, VALUE, FIRST_VALUE, AFTER, FINISHED, STRING, ESCAPE, HEX, NUMBER, LITERAL =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
local QUOTE, BACKSLASH, OBJECT, END_OBJECT, LIST, END_LIST, COMMA, COLON_SIGN = 34, 92, 123, 125, 91, 93, 44, 58
local ROLE, USER = '"role"', '"user"'
local LITERALS = { [116] = "true", [102] = "false", [110] = "null" }
local ESCAPED, HEXADECIMAL, BLANK, IN_NUMBER = {}, {}, {}, {}
for byte = 0, 255 do
  local sign = string.char(byte)
  ESCAPED[byte] = sign:find('["\\/bfnrt]') ~= nil
  HEXADECIMAL[byte] = sign:find("%x") ~= nil
  BLANK[byte] = sign:find("[ \t\r\n]") ~= nil
  IN_NUMBER[byte] = sign == "0" and 1 or sign:find("%d") and 2 or sign == "." and 3 or sign:find("[eE]") and 4
    or sign:find("[+-]") and 5 or 0
end

-- How a number goes on: after what is named, by the kind of the next byte (above); 0 where it does not.
local MINUS, ZERO, WHOLE, POINT, FRACTION, POWER, SIGN, EXPONENT = 1, 2, 3, 4, 5, 6, 7, 8
local NUMBERS = {
  [MINUS] = { ZERO, WHOLE, 0, 0, 0 },
  [ZERO] = { 0, 0, POINT, POWER, 0 },
  [WHOLE] = { WHOLE, WHOLE, POINT, POWER, 0 },
  [POINT] = { FRACTION, FRACTION, 0, 0, 0 },
  [FRACTION] = { FRACTION, FRACTION, 0, POWER, 0 },
  [POWER] = { EXPONENT, EXPONENT, 0, 0, SIGN },
  [SIGN] = { EXPONENT, EXPONENT, 0, 0, 0 },
  [EXPONENT] = { EXPONENT, EXPONENT, 0, 0, 0 },
}
local MAY_END = { [ZERO] = true, [WHOLE] = true, [FRACTION] = true, [EXPONENT] = true }

-- A scanner of one body. `wanted` names the keys whose values are told, without their text where it says `turns`: such a
-- list's first message of a user is looked for. `opened` names the keys whose value, where it is an object, is looked
-- into: its keys are called `outer.inner`.
function body.scanner(wanted, opened)
  return setmetatable({
    wanted = wanted, opened = opened, found = {}, seen = {}, seen_inside = {}, keys = 0,
    state = START, base = 0, depth = 0, lists = ffi.new("bool[?]", DEEPEST + 1),
    continuing = 0, low = 0, high = 0, digits = 0, number = 0, literal = "", matched = 0, in_key = false,
    held = nil, from = 0, name = nil, inside = nil, turns = nil, is_role = false, is_user = false,
  }, Scanner)
end

-- What was captured up to `stop`; nil where that is longer than `longest`.
local function captured(self, bytes, stop, longest)
  local held, from = self.held, self.from
  self.held = nil
  if not held or #held + stop - from > longest then return nil end
  return held .. ffi.string(bytes + from, stop - from)
end

local function capture(self, i)
  self.held, self.from = "", i
end

-- Keep what was captured of this piece, so far as it may still be wanted whole.
local function hold(self, bytes, length)
  if not self.held then return end
  local room = LONGEST_TEXT + 1 - #self.held
  self.held = self.held .. ffi.string(bytes + self.from, math.max(math.min(length - self.from, room), 0))
  self.from = 0
end

local function in_scope(self, depth)
  return depth == 1 or depth == 2 and self.inside ~= nil
end

local function end_key(self, bytes, i, depth)
  local raw = captured(self, bytes, i + 1, LONGEST_KEY + 2)
  if not raw then return nil, "a key of more than " .. LONGEST_KEY .. " bytes" end
  local name = raw:sub(2, -2)
  if name:find("\\", 1, true) then name = (cjson.decode("[" .. raw .. "]") or { name })[1] end
  local seen, is_dotted = self.seen, name:find(".", 1, true)
  if depth == 2 then seen, name = self.seen_inside, self.inside .. "." .. name end
  if seen[name] then return nil, "the key `" .. name .. "` is there twice: write it once", name end
  self.keys, seen[name] = self.keys + 1, true
  if self.keys > MOST_KEYS then return nil, "more than " .. MOST_KEYS .. " keys" end
  local outer = depth == 2 and self.found[self.inside]
  if outer then outer.has_keys = true end
  self.name = (depth == 2 or not is_dotted) and name or nil -- an outer one may only look like `outer.inner`
  return true
end

-- Whether this is an object's own level, in a list of messages whose first one of a user was not found yet.
local function in_message(self, depth)
  return depth == 3 and self.turns ~= nil
end

local function begin_value(self, byte, i, depth)
  if in_message(self, depth) and self.is_role and byte == QUOTE then return capture(self, i) end
  local name = self.name
  if not name or not in_scope(self, depth) then return end
  local wanted = self.wanted[name]
  if not wanted then
    self.name = nil
    return
  end
  self.found[name] = { first = self.base + i, depth = depth, is_opened = self.inside == name }
  if wanted ~= "turns" then return capture(self, i) end
  if byte == LIST then self.turns = self.found[name] end
end

local function end_value(self, bytes, stop, depth)
  if in_message(self, depth) and self.is_role then
    self.is_user, self.is_role = captured(self, bytes, stop, #USER) == USER, false
  elseif depth == 2 and self.is_user then
    self.turns.turn, self.turns, self.is_user = self.base + stop, nil, false
  end
  local value = self.name and self.found[self.name]
  if not value or value.depth ~= depth then return end
  value.last = self.base + stop
  value.text = captured(self, bytes, stop, LONGEST_TEXT)
  self.name, self.turns = nil, nil
end

-- The byte that begins a value: the state that follows, or nil.
local function opening(self, byte, i, depth)
  if byte == OBJECT and depth == 1 and self.name and self.opened[self.name] then self.inside = self.name end
  begin_value(self, byte, i, depth)
  if byte == QUOTE then
    self.in_key = false
    return STRING, depth
  end
  if byte == OBJECT or byte == LIST then
    self.lists[depth + 1] = byte == LIST
    return byte == LIST and FIRST_VALUE or FIRST_KEY, depth + 1
  end
  if LITERALS[byte] then
    self.literal, self.matched = LITERALS[byte], 1
    return LITERAL, depth
  end
  if byte == 45 or byte >= 48 and byte <= 57 then
    self.number = byte == 45 and MINUS or byte == 48 and ZERO or WHOLE
    return NUMBER, depth
  end
end

-- One byte of a string; the state that follows, or nil.
local function in_string(self, byte)
  if self.continuing > 0 then
    if byte < self.low or byte > self.high then return nil end
    self.continuing, self.low, self.high = self.continuing - 1, 128, 191
  elseif byte == QUOTE then
    return AFTER
  elseif byte == BACKSLASH then
    return ESCAPE
  elseif byte >= 128 then
    if byte < 194 or byte > 244 then return nil end
    self.continuing = byte < 224 and 1 or byte < 240 and 2 or 3
    self.low = byte == 224 and 160 or byte == 240 and 144 or 128
    self.high = byte == 237 and 159 or byte == 244 and 143 or 191
  elseif byte < 32 then
    return nil
  end
  return STRING
end

-- One byte of an escape or a word; the state that follows, or nil and a sentence.
local function in_token(self, bytes, i, state, depth)
  local byte = bytes[i]
  if state == ESCAPE then
    if byte == 117 then
      self.digits = 4
      return HEX
    end
    return ESCAPED[byte] and STRING, "an escape that JSON does not know"
  end
  if state == HEX then
    self.digits = self.digits - 1
    return HEXADECIMAL[byte] and (self.digits == 0 and STRING or HEX), "an escape that JSON does not know"
  end
  self.matched = self.matched + 1
  if self.literal:byte(self.matched) ~= byte then return nil, "a word that JSON does not know" end
  if self.matched < #self.literal then return LITERAL end
  end_value(self, bytes, i + 1, depth)
  return AFTER
end

-- One byte of a number, or the one behind it; the state that follows, or nil and a sentence.
local function in_number(self, bytes, i, depth)
  local kind = IN_NUMBER[bytes[i]]
  local following = kind > 0 and NUMBERS[self.number][kind] or 0
  if following > 0 then
    self.number = following
    return NUMBER
  end
  if kind > 0 or not MAY_END[self.number] then return nil, "a number that JSON does not know" end
  end_value(self, bytes, i, depth)
  return AFTER
end

-- The byte that ends a string: the state that follows, or nil, a sentence and a key.
local function end_string(self, bytes, i, depth)
  if not self.in_key then
    end_value(self, bytes, i + 1, depth)
    return AFTER
  end
  if in_scope(self, depth) then
    local done, sentence, key = end_key(self, bytes, i, depth)
    if not done then return nil, sentence, key end
  elseif in_message(self, depth) then
    self.is_role = captured(self, bytes, i + 1, #ROLE) == ROLE
  end
  return COLON
end

-- One byte between values: the state and depth that follow, or nil and a sentence.
local function between(self, bytes, i, state, depth)
  local byte = bytes[i]
  if (byte == END_OBJECT or byte == END_LIST) and (state == AFTER or state == FIRST_KEY or state == FIRST_VALUE)
    and self.lists[depth] == (byte == END_LIST) then
    depth = depth - 1
    if depth == 1 then self.inside = nil end
    end_value(self, bytes, i + 1, depth)
    return depth == 0 and FINISHED or AFTER, depth
  end
  if state == AFTER and byte == COMMA then return self.lists[depth] and VALUE or KEY, depth end
  if state == COLON and byte == COLON_SIGN then return VALUE, depth end
  if (state == KEY or state == FIRST_KEY) and byte == QUOTE then
    if in_scope(self, depth) or in_message(self, depth) then capture(self, i) end
    self.in_key = true
    return STRING, depth
  end
  if state == VALUE or state == FIRST_VALUE or state == START and byte == OBJECT then
    if depth == DEEPEST then return nil, "more than " .. DEEPEST .. " levels" end
    local following, deeper = opening(self, byte, i, depth)
    return following, deeper or "no value where one is due"
  end
  if state == START then return nil, "it does not begin with `{`" end
  if state == FINISHED then return nil, "something stands behind its end" end
  return nil, "something stands where JSON has nothing"
end

-- Take the next `length` bytes; true, or nil, a sentence, and the key that it is about, where it is about one.
function Scanner:feed(bytes, length)
  local i, state, depth = 0, self.state, self.depth
  self.from = 0
  while i < length do
    local byte, following, told, key = bytes[i], nil, nil, nil
    if state == STRING then
      while byte >= 32 and byte < 128 and byte ~= QUOTE and byte ~= BACKSLASH and self.continuing == 0 do
        i = i + 1
        if i == length then break end
        byte = bytes[i]
      end
      if i == length then break end
      following, told = in_string(self, byte), "a string that is no UTF-8, or holds a control character"
      if following == AFTER then following, told, key = end_string(self, bytes, i, depth) end
    elseif state == NUMBER then
      following, told = in_number(self, bytes, i, depth)
      if following == AFTER then i = i - 1 end
    elseif BLANK[byte] and state < STRING then
      following = state
    elseif state < STRING then
      following, told = between(self, bytes, i, state, depth)
      depth = following and told or depth
    else
      following, told = in_token(self, bytes, i, state, depth)
    end
    if not following then return nil, key and told or told .. " (at byte " .. self.base + i + 1 .. ")", key end
    state, i = following, i + 1
  end
  hold(self, bytes, length)
  self.state, self.depth, self.base = state, depth, self.base + length
  return true
end

-- What a short value of JSON is; without an escape, a string is what stands there.
function body.value(text)
  if text:byte(1) == QUOTE and not text:find("\\", 1, true) then return text:sub(2, -2) end
  return (cjson.decode("[" .. text .. "]") or {})[1]
end

-- What was found, by name: `first` and `last`, the positions of a value's first byte and of the one behind its last,
-- counted from 0, `text`, as it is written, where that is short, and `turn`, the position behind a list's first message of a
-- user; of an object that is looked into, `first`, that it `is_opened`, and whether it `has_keys`.
function Scanner:finish()
  if self.base == 0 then return nil, "it is empty" end
  if self.state ~= FINISHED then return nil, "it ends too early" end
  return self.found
end

return body
