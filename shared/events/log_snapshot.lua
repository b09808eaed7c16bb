-- The log's last id and its open items with their text so far.
-- KEYS: log, open.  ARGV: prefix of text keys
-- Returns: {last id or "0-0", {field, value, …}} where a field "item" holds a frame head and "item\tstream" the text so far
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local id = '0-0'
if #last > 0 then id = last[1][1] end
local found = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  found[#found + 1] = field
  if string.find(field, '\t', 1, true) then
    found[#found + 1] = redis.call('GET', ARGV[1] .. field) or ''
  else
    found[#found + 1] = redis.call('HGET', KEYS[2], field)
  end
end
return {id, found}
