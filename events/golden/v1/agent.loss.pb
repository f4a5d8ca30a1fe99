
prodnode-1.exampleЂТ§Ъ·3"_agent.default:
agent.loss@H(*0zGҐлЬКтлЬГк6
baselineЂТ§Ъ·3

queue_fullиЂ
rejectedР