"""Word lists that the kinds share, so that a small vocabulary covers all of them."""

from __future__ import annotations

NAMES = ("Tom", "Anna", "Ben", "Lily", "Sam", "Mia", "Max", "Eva")
NAMES_ZH = ("小明", "小红", "小丽", "小华")
ITEMS = ("apples", "books", "pens", "cups", "eggs", "balls", "coins", "cards")
ITEMS_ZH = ("苹果", "鸡蛋", "本子", "杯子", "球")
CITIES = ("Paris", "Rome", "London", "Berlin", "Tokyo", "Madrid", "Oslo", "Cairo", "Lima", "Vienna")

TOPICS: dict[str, tuple[str, ...]] = {
    "animals": ("cat", "dog", "cow", "horse", "pig", "bird", "fish", "lion"),
    "colors": ("red", "blue", "green", "black", "white", "brown", "pink", "gray"),
    "fruits": ("apple", "pear", "plum", "lemon", "grape", "peach", "melon", "cherry"),
    "drinks": ("tea", "milk", "water", "juice", "coffee", "cola", "cocoa", "soda"),
    "tools": ("hammer", "saw", "knife", "drill", "nail", "rope", "axe", "brush"),
    "clothes": ("hat", "coat", "shirt", "shoe", "sock", "dress", "scarf", "glove"),
}
TOPICS_ZH: dict[str, tuple[str, ...]] = {
    "动物": ("猫", "狗", "牛", "马", "鸟", "鱼"),
    "颜色": ("红", "蓝", "绿", "黑", "白", "黄"),
    "水果": ("梨", "桃", "枣", "李", "杏", "瓜"),
    "身体": ("手", "脚", "头", "眼", "口", "耳"),
}
