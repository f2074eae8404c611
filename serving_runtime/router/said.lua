-- What a model said in an answer, as text: of all its choices, with the arguments of its calls. It is read after the
-- answer is over, and other requests have their turn in between.
local cjson = require "cjson.safe"

local said = {}
local PAUSE, EVENTS_AT_ONCE = 0.001, 100 -- seconds

local function add(texts, value)
  if type(value) == "string" then texts[#texts + 1] = value end
end

local function each(list, take)
  for _, one in ipairs(type(list) == "table" and list or {}) do
    if type(one) == "table" then take(one) end
  end
end

local function add_message(texts, message)
  if type(message) ~= "table" then return end
  add(texts, message.content)
  each(message.tool_calls, function(call)
    local called = type(call["function"]) == "table" and call["function"] or {}
    add(texts, called.name)
    add(texts, called.arguments)
  end)
end

local function add_output(texts, response)
  each(response.output, function(item)
    each(item.content, function(part) add(texts, part.text) end)
    add(texts, item.name)
    add(texts, item.arguments)
  end)
end

-- A whole answer, or one event of a stream.
local function add_object(texts, told)
  if type(told) ~= "table" then return end
  each(told.choices, function(choice)
    add(texts, choice.text)
    add_message(texts, choice.message or choice.delta)
  end)
  add_output(texts, told)
  if told.type == "response.completed" and type(told.response) == "table" then add_output(texts, told.response) end
end

local function add_events(texts, text)
  local count = 0
  for data in text:gmatch("data: ?({[^\r\n]*)") do
    add_object(texts, cjson.decode(data))
    count = count + 1
    if count % EVENTS_AT_ONCE == 0 then ngx.sleep(PAUSE) end
  end
end

-- The text of an answer as its bytes came.
function said.text(bytes, streams)
  local texts = {}
  if streams then
    add_events(texts, bytes)
  else
    add_object(texts, cjson.decode(bytes))
  end
  return table.concat(texts)
end

return said
