-- How far two answers agree. What a sentence means is not looked at: it takes a model to say that.
local json = require("cjson.safe").new()

local agreement = {}
local PAUSE, WORDS_AT_ONCE = 0.001, 4096 -- seconds
json.decode_invalid_numbers(false)

local function words(text)
  local counts, total = {}, 0
  for word in text:gmatch("%S+") do
    counts[word], total = (counts[word] or 0) + 1, total + 1
    if total % WORDS_AT_ONCE == 0 then ngx.sleep(PAUSE) end -- others have their turn
  end
  return counts, total
end

-- From 0 to 1: twice the words that both have, each as often as both have it, over the words of both (the F1 of words
-- that SQuAD measures answers by). Their order does not matter.
function agreement.similarity(one, other)
  if one == other then return 1 end
  local counts, total = words(one)
  local others, other_total = words(other)
  if total + other_total == 0 then return 1 end
  local common = 0
  for word, count in pairs(counts) do common = common + math.min(count, others[word] or 0) end
  return 2 * common / (total + other_total)
end

-- Whether a text is JSON, an object or a list.
function agreement.is_json(text)
  return type(json.decode(text)) == "table"
end

return agreement
